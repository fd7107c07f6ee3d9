//! ResNet-18 and ResNet-34 (He et al. 2016, table 1) with the CIFAR stem: four stages, projection shortcuts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BlockKind, CIFAR, Layout, ShortcutKind, TORCHVISION};
use crate::models::InitScheme;

/// ResNet-18 or -34 for small images. The slim ResNet-18 of the continual-learning literature (nf = 20) has
/// `widths = [20, 40, 80, 160]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResnetArch {
    /// Channels, height and width of an image (0: taken from the data set).
    pub input: [i64; 3],
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    /// Channels of each of the four stages' residual streams; the stem has those of the first.
    pub widths: Vec<i64>,
    /// The order of the layers in a block; `preact` is the PreAct ResNet.
    pub block: BlockKind,
    /// Channels between the two convolutions of each block, in order; 0: the block is removed. Empty: the stage's width.
    pub inner: Vec<i64>,
    pub init: InitScheme,
}

impl Default for ResnetArch {
    fn default() -> ResnetArch {
        ResnetArch {
            input: [0; 3],
            classes: 0,
            widths: vec![64, 128, 256, 512],
            block: BlockKind::Basic,
            inner: Vec::new(),
            init: InitScheme::Pytorch,
        }
    }
}

impl ResnetArch {
    pub(in crate::models) fn layout(&self, blocks: [usize; 4]) -> Layout {
        Layout {
            input: self.input,
            classes: self.classes,
            blocks: blocks.to_vec(),
            widths: self.widths.clone(),
            inner: self.inner.clone(),
            block: self.block,
            shortcut: ShortcutKind::B,
            pad_before: Vec::new(),
            names: if self.block == BlockKind::Preact { CIFAR } else { TORCHVISION },
            init: self.init,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, Network, testing::parameters};
    use crate::params::file::TensorFile;
    use std::collections::HashMap;
    use std::path::Path;
    use tch::{Device, Tensor};

    #[test]
    fn sizes_are_those_of_the_published_networks() {
        let arch = ResnetArch { input: [3, 32, 32], classes: 10, ..ResnetArch::default() };
        assert_eq!(parameters(Arch::Resnet18(arch.clone())), 11_173_962);
        assert_eq!(parameters(Arch::Resnet34(arch.clone())), 21_282_122);
        // 11 171 146 in the public implementation, which leaves out the last normalization (2 * 512).
        let preact = ResnetArch { block: BlockKind::Preact, ..arch.clone() };
        assert_eq!(parameters(Arch::Resnet18(preact)), 11_171_146 + 1024);
        let slim = ResnetArch { widths: vec![20, 40, 80, 160], ..arch };
        assert_eq!(parameters(Arch::Resnet18(slim)), 1_094_750);
    }

    #[test]
    fn the_names_are_torchvisions_and_pytorch_cifars_load_too() {
        let arch = ResnetArch { input: [3, 32, 32], classes: 10, widths: vec![2, 2, 2, 3], ..ResnetArch::default() };
        let net = |seed| Network::build(Arch::Resnet18(arch.clone()), seed, Device::Cpu).unwrap();
        let (ours, theirs) = (net(1), net(2));
        assert!(ours.store.id("layer4.0.downsample.1.running_var").is_some() && ours.store.id("fc.bias").is_some());
        let rename = |name: &str| name.replace("downsample", "shortcut").replace("fc.", "linear.");
        let tensors = theirs.store.iter().map(|(_, p)| (rename(&p.name), p.tensor.detach())).collect();
        ours.store.load(&TensorFile { tensors, metadata: HashMap::new() }, Path::new("theirs")).unwrap();
        let x = Tensor::ones([1, 3, 32, 32], tch::kind::FLOAT_CPU);
        assert_eq!(ours.evaluate(&x), theirs.evaluate(&x));
    }
}
