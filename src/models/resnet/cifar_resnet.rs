//! The CIFAR ResNets of He et al. 2016, section 4.2: depth 6n + 2, three stages of n blocks.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BlockKind, CIFAR, Layout, ShortcutKind};
use crate::models::InitScheme;

/// ResNet-20, -32, -44, -56, -110 and their like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CifarResnetArch {
    /// Channels, height and width of an image (0: taken from the data set).
    pub input: [i64; 3],
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    /// Convolutions in a row plus the classifier: 2 n stages + 2, n blocks a stage.
    pub depth: i64,
    /// Channels of each stage's residual stream; the stem has those of the first.
    pub widths: Vec<i64>,
    /// How the blocks that change the shape pass their input on.
    pub shortcut: ShortcutKind,
    /// Channels between the two convolutions of each block, in order; 0: the block is removed. Empty: the stage's width.
    pub inner: Vec<i64>,
    /// Shortcut `a` of a cut network: zero channels put before those of the previous stage, for each stage but the first.
    /// Empty: half of the new channels.
    pub pad_before: Vec<i64>,
    pub init: InitScheme,
}

impl Default for CifarResnetArch {
    fn default() -> CifarResnetArch {
        CifarResnetArch {
            input: [0; 3],
            classes: 0,
            depth: 20,
            widths: vec![16, 32, 64],
            shortcut: ShortcutKind::A,
            inner: Vec::new(),
            pad_before: Vec::new(),
            init: InitScheme::HeNormal,
        }
    }
}

impl CifarResnetArch {
    pub(in crate::models) fn layout(&self) -> Result<Layout> {
        let stages = self.widths.len() as i64;
        ensure!(stages > 0, "model.widths is empty: a cifar-resnet needs one stage at least");
        let convolutions = self.depth - 2;
        ensure!(
            convolutions > 0 && convolutions % (2 * stages) == 0,
            "model.depth = {} must be {} n + 2 for {stages} stages of n blocks, such as {}",
            self.depth,
            2 * stages,
            2 * stages * (convolutions / (2 * stages)).max(1) + 2
        );
        Ok(Layout {
            input: self.input,
            classes: self.classes,
            blocks: vec![(convolutions / (2 * stages)) as usize; stages as usize],
            widths: self.widths.clone(),
            inner: self.inner.clone(),
            block: BlockKind::Basic,
            shortcut: self.shortcut,
            pad_before: self.pad_before.clone(),
            names: CIFAR,
            init: self.init,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::cost::cost;
    use crate::models::{Arch, Network};
    use tch::Device;

    fn build(arch: CifarResnetArch) -> Result<Network> {
        Network::build(Arch::CifarResnet(CifarResnetArch { input: [3, 32, 32], classes: 10, ..arch }), 0, Device::Cpu)
    }

    #[test]
    fn costs_are_those_of_the_papers_networks() {
        let known = [
            (20, 40_551_040, 269_722),
            (32, 68_862_592, 464_154),
            (44, 97_174_144, 658_586),
            (56, 125_485_696, 853_018),
            (110, 252_887_680, 1_727_962),
        ];
        for (depth, macs, params) in known {
            let net = build(CifarResnetArch { depth, ..CifarResnetArch::default() }).unwrap();
            let cost = cost(net.model.as_ref(), &net.store, &[3, 32, 32]);
            assert_eq!((cost.macs(), cost.params()), (macs, params), "depth {depth}");
            assert_eq!(net.store.parameters() as i64, params);
        }
    }

    /// The rule by which the public checkpoints of these networks name their tensors.
    fn expected_tensors() -> Vec<(String, Vec<i64>)> {
        fn norm(tensors: &mut Vec<(String, Vec<i64>)>, name: String, channels: i64) {
            for part in ["weight", "bias", "running_mean", "running_var"] {
                tensors.push((format!("{name}.{part}"), vec![channels]));
            }
            tensors.push((format!("{name}.num_batches_tracked"), vec![]));
        }
        let mut tensors = vec![("conv1.weight".to_owned(), vec![16, 3, 3, 3])];
        norm(&mut tensors, "bn1".to_owned(), 16);
        let mut inputs = 16;
        for (stage, width) in [(1, 16), (2, 32), (3, 64)] {
            for i in 0..3 {
                let block = format!("layer{stage}.{i}");
                tensors.push((format!("{block}.conv1.weight"), vec![width, inputs, 3, 3]));
                norm(&mut tensors, format!("{block}.bn1"), width);
                tensors.push((format!("{block}.conv2.weight"), vec![width, width, 3, 3]));
                norm(&mut tensors, format!("{block}.bn2"), width);
                inputs = width;
            }
        }
        tensors.push(("linear.weight".to_owned(), vec![10, 64]));
        tensors.push(("linear.bias".to_owned(), vec![10]));
        tensors
    }

    #[test]
    fn tensors_are_named_as_in_the_public_checkpoints() {
        let net = build(CifarResnetArch::default()).unwrap();
        let tensors: Vec<(String, Vec<i64>)> =
            net.store.iter().map(|(_, p)| (p.name.clone(), p.tensor.size())).collect();
        assert_eq!(tensors, expected_tensors());
    }

    #[test]
    fn stages_may_be_fewer_and_shortcuts_projections() {
        let (depth, widths) = (18, vec![16]);
        let plain = build(CifarResnetArch { depth, widths, ..CifarResnetArch::default() }).unwrap();
        assert!(plain.store.id("layer1.7.conv2.weight").is_some() && plain.store.id("layer1.8.conv2.weight").is_none());
        let shortcut = ShortcutKind::B;
        let projected = build(CifarResnetArch { depth: 8, shortcut, ..CifarResnetArch::default() }).unwrap();
        assert!(projected.store.id("layer1.0.shortcut.0.weight").is_none());
        assert_eq!(
            projected.store.get(projected.store.find("layer2.0.shortcut.0.weight").unwrap()).size(),
            [32, 16, 1, 1]
        );
    }

    #[test]
    fn impossible_shapes_are_refused_by_name() {
        let refused = |arch: CifarResnetArch, part: &str| {
            let message = build(arch).err().unwrap().to_string();
            assert!(message.contains(part), "{message}");
        };
        let default = CifarResnetArch::default;
        refused(CifarResnetArch { depth: 21, ..default() }, "model.depth = 21 must be 6 n + 2");
        refused(CifarResnetArch { inner: vec![16; 8], ..default() }, "model.inner must have 9 entries, got 8");
        refused(CifarResnetArch { widths: vec![16, 8, 4], ..default() }, "must not shrink");
        refused(CifarResnetArch { pad_before: vec![8, 33], ..default() }, "model.pad_before");
        refused(CifarResnetArch { widths: vec![], ..default() }, "model.widths is empty");
    }
}
