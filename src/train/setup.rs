//! What most methods begin with: the data on the device, and a network that fits it.

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use std::path::Path;

use crate::data::{self, DataConfig, DeviceSplits};
use crate::models::{Arch, Network, checkpoint};
use crate::run::Run;

/// Loads the data set and puts it on the run's device.
pub fn load_data(run: &Run, config: &DataConfig) -> Result<DeviceSplits> {
    let splits = data::load(config, &run.data_root, &ProgressBar::hidden())?;
    splits.to_device(&config.augment, run.device)
}

/// Builds the network on the run's device for samples of this data, with initial values from the run's seed.
pub fn build_network(run: &Run, arch: &Arch, data: &DeviceSplits) -> Result<Network> {
    let mut arch = arch.clone();
    arch.fit_data(data.train.sample_shape(), data.train.classes().len() as i64)?;
    Network::build(arch, run.seed(), run.device)
}

/// Fills a network from a checkpoint file; a checkpoint of another network is an error that names both shapes.
pub fn load_weights(net: &Network, path: &Path) -> Result<()> {
    checkpoint::load_tensors(path, &net.store).with_context(|| format!("cannot start from {}", path.display()))
}
