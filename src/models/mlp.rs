//! Multi-layer perceptron: fc1, relu, fc2, relu, ..., last layer.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::arch::{kept, positive};
use super::layers::Linear;
use super::{Arch, Cx, InitScheme, Model};
use crate::params::channels::ChannelGroup;
use crate::params::{Builder, ParamId, ParamStore};

/// A multi-layer perceptron with ReLU between its layers; inputs are flattened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MlpArch {
    /// Values per sample (0: taken from the data set).
    pub inputs: i64,
    /// Width of each hidden layer.
    pub hidden: Vec<i64>,
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    pub init: InitScheme,
}

impl Default for MlpArch {
    fn default() -> MlpArch {
        MlpArch { inputs: 0, hidden: vec![256], classes: 0, init: InitScheme::default() }
    }
}

pub struct Mlp {
    arch: MlpArch,
    layers: Vec<Linear>,
}

impl Mlp {
    pub fn new(b: &mut Builder, arch: &MlpArch) -> Result<Mlp> {
        let widths = [&[arch.inputs], &arch.hidden[..], &[arch.classes]].concat();
        positive("inputs, hidden and classes", &widths)?;
        let layer =
            |(i, w): (usize, &[i64])| Linear::new(&mut b.part(format!("fc{}", i + 1)), w[0], w[1], true, arch.init);
        Ok(Mlp { arch: arch.clone(), layers: widths.windows(2).enumerate().map(layer).collect() })
    }

    fn last(&self) -> &Linear {
        self.layers.last().expect("an mlp has at least one layer")
    }
}

impl Model for Mlp {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.last().forward(cx, &self.features(cx, x))
    }

    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let hidden = &self.layers[..self.layers.len() - 1];
        let relu = |x: Tensor, layer: &Linear| cx.tap(&layer.name, layer.forward(cx, &x).relu());
        hidden.iter().fold(x.flatten(1, -1), relu)
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.last().params()
    }

    /// Each hidden layer's neurons: row and bias here, column in the next layer.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup> {
        let group = |pair: &[Linear]| {
            let (layer, next) = (&pair[0], &pair[1]);
            ChannelGroup::inner(&layer.name, layer.outputs(store)).producer(layer.params()).consumer(next.weight, 1)
        };
        self.layers.windows(2).map(group).collect()
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        let hidden = keep.iter().map(|flags| kept(flags)).collect();
        Arch::Mlp(MlpArch { hidden, ..self.arch.clone() })
    }
}
