//! What most methods begin with: the data on the device, and a network that fits it.

use anyhow::Result;
use indicatif::ProgressBar;
use std::path::Path;

use super::{Doors, Fit, Outcome, ParamGroup, Shuffled, TrainConfig, fit};
use crate::data::{self, DataConfig, DeviceSet, DeviceSplits};
use crate::models::{Arch, Network, checkpoint};
use crate::run::{Run, Stamp};

/// Loads the data set and puts it on the run's device.
pub fn load_data(run: &Run, config: &DataConfig) -> Result<DeviceSplits> {
    let mut config = config.clone();
    if config.split_by_run_seed {
        config.split_seed = config.split_seed.wrapping_add(run.seed());
    }
    let splits = data::load(&config, &run.data_root, &ProgressBar::hidden())?;
    splits.to_device(&config.augment, run.device)
}

/// Builds the network on the run's device for samples of this data, with initial values from the run's seed.
pub fn build_network(run: &Run, arch: &Arch, data: &DeviceSplits) -> Result<Network> {
    build_network_with(run.seed(), run, arch, data)
}

/// [`build_network`] with initial values from a seed of its own: one more network of the same run.
pub fn build_network_with(seed: u64, run: &Run, arch: &Arch, data: &DeviceSplits) -> Result<Network> {
    let mut arch = arch.clone();
    arch.fit_data(data.train.sample_shape(), data.train.classes().len() as i64)?;
    Network::build(arch, seed, run.device)
}

/// Fills a network from a checkpoint file; a checkpoint of another network is an error that names both shapes.
pub fn load_weights(net: &Network, path: &Path) -> Result<()> {
    checkpoint::load_tensors(path, &net.store)
}

/// The sets evaluated during training, by name: `test` and, if there is one, `val`.
pub fn evaluated(data: &DeviceSplits) -> Vec<(&'static str, &DeviceSet)> {
    let mut sets = vec![("test", &data.test)];
    sets.extend(data.val.as_ref().map(|val| ("val", val)));
    sets
}

/// A phase of ordinary supervised training: the training set in a new order every epoch, evaluated on `test` and, if there
/// is one, `val`.
pub struct Supervised<'a> {
    /// The phase's name in checkpoints and in the log.
    pub phase: &'a str,
    pub net: &'a Network,
    pub data: &'a DeviceSplits,
    pub config: &'a TrainConfig,
    /// Parameter groups; `None`: all trainable tensors, the optimizer's decay.
    pub groups: Option<Vec<ParamGroup>>,
    /// Where the run's counters stand when the phase begins.
    pub start: Stamp,
}

impl Supervised<'_> {
    pub fn fit(self, doors: &mut [&mut dyn Doors], run: &mut Run) -> Result<Outcome> {
        let mut source = Shuffled::new(&self.data.train, self.config.batch, self.config.drop_last, run.seed());
        let sets = evaluated(self.data);
        let Supervised { phase, net, config, groups, start, .. } = self;
        fit(Fit { phase, net, source: &mut source, evaluate: &sets, config, groups, start }, doors, run)
    }
}
