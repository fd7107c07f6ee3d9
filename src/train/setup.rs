//! What most methods begin with: the data on the device, and a network that fits it.

use anyhow::Result;
use indicatif::ProgressBar;
use std::collections::HashMap;
use std::path::Path;
use tch::Tensor;

use super::{Doors, Fit, Outcome, ParamGroup, Shuffled, TrainConfig, fit};
use crate::data::{self, DataConfig, DeviceSet, DeviceSplits};
use crate::models::{Arch, Network, checkpoint};
use crate::params::file::{self, TensorFile};
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

/// Fills a network from the file of a network of the same body, trained on other classes perhaps: a last layer of another
/// shape is left as it is. `parts` are the prefixes under which `net` holds the body, `""` for an ordinary network.
pub fn load_pretrained(net: &Network, parts: &[String], path: &Path) -> Result<()> {
    let given = file::read(path)?;
    let copies = parts
        .iter()
        .flat_map(|part| given.tensors.iter().map(move |(name, t)| (net.store.own_name(&format!("{part}{name}")), t)));
    let classifier: HashMap<&str, &Tensor> =
        net.model.classifier().into_iter().map(|id| (net.store.name(id), net.store.get(id))).collect();
    let fitting = |(name, tensor): (String, &Tensor)| {
        let own = classifier.get(name.as_str()).filter(|own| own.size() != tensor.size());
        (name, own.map_or_else(|| tensor.shallow_clone(), |own| own.detach()))
    };
    let tensors = copies.map(fitting).collect();
    net.store.load(&TensorFile { tensors, metadata: given.metadata.clone() }, path)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MlpArch;
    use tch::Device;

    fn net(classes: i64, hidden: i64, seed: u64) -> Network {
        let arch = MlpArch { inputs: 4, hidden: vec![hidden], classes, ..MlpArch::default() };
        Network::build(Arch::Mlp(arch), seed, Device::Cpu).unwrap()
    }

    #[test]
    fn pretrained_weights_fill_all_but_a_classifier_of_other_classes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body.safetensors");
        let source = net(9, 5, 1);
        checkpoint::save(&path, &source.arch, &source.store).unwrap();
        let (ours, untouched) = (net(3, 5, 2), net(3, 5, 2));
        load_pretrained(&ours, &[String::new()], &path).unwrap();
        let of = |net: &Network, name: &str| net.store.get(net.store.find(name).unwrap()).detach();
        assert_eq!(of(&ours, "fc1.weight"), of(&source, "fc1.weight"));
        assert_eq!(of(&ours, "fc2.weight"), of(&untouched, "fc2.weight"));
        let message = load_pretrained(&net(3, 6, 2), &[String::new()], &path).unwrap_err().to_string();
        assert!(message.contains("fc1.") && message.contains("body.safetensors"), "{message}");
    }
}
