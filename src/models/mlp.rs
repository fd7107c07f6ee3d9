//! Multi-layer perceptron: fc1, relu, fc2, relu, ..., last layer; on request with batch normalization before each relu.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::arch::{kept, positive};
use super::layers::{BatchNorm, Linear};
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
    /// Batch normalization between each hidden layer and its ReLU (`bn1`, `bn2`, ...). Default false.
    pub batch_norm: bool,
    pub init: InitScheme,
}

impl Default for MlpArch {
    fn default() -> MlpArch {
        MlpArch { inputs: 0, hidden: vec![256], classes: 0, batch_norm: false, init: InitScheme::default() }
    }
}

pub struct Mlp {
    arch: MlpArch,
    layers: Vec<Linear>,
    /// One for each hidden layer, or none.
    norms: Vec<BatchNorm>,
}

impl Mlp {
    pub fn new(b: &mut Builder, arch: &MlpArch) -> Result<Mlp> {
        let widths = [&[arch.inputs], &arch.hidden[..], &[arch.classes]].concat();
        positive("inputs, hidden and classes", &widths)?;
        let layer =
            |(i, w): (usize, &[i64])| Linear::new(&mut b.part(format!("fc{}", i + 1)), w[0], w[1], true, arch.init);
        let layers = widths.windows(2).enumerate().map(layer).collect();
        let normed = if arch.batch_norm { &arch.hidden[..] } else { &[] };
        let norm = |(i, &width): (usize, &i64)| BatchNorm::new(&mut b.part(format!("bn{}", i + 1)), width);
        let norms = normed.iter().enumerate().map(norm).collect();
        Ok(Mlp { arch: arch.clone(), layers, norms })
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
        let relu = |x: Tensor, (i, layer): (usize, &Linear)| {
            let y = layer.forward(cx, &x);
            let y = self.norms.get(i).map_or_else(|| y.shallow_clone(), |norm| norm.forward(cx, &y));
            cx.tap(&layer.name, y.relu())
        };
        hidden.iter().enumerate().fold(x.flatten(1, -1), relu)
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.last().params()
    }

    /// Each hidden layer's neurons: row and bias here, column in the next layer.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup> {
        let group = |(i, pair): (usize, &[Linear])| {
            let (layer, next) = (&pair[0], &pair[1]);
            let group = ChannelGroup::inner(&layer.name, layer.outputs(store)).producer(layer.params());
            let norm = self.norms.get(i).into_iter().flat_map(BatchNorm::per_channel);
            group.norm(norm).consumer(next.weight, 1)
        };
        self.layers.windows(2).enumerate().map(group).collect()
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        let hidden = keep.iter().map(|flags| kept(flags)).collect();
        Arch::Mlp(MlpArch { hidden, ..self.arch.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::testing::{images, random_network};
    use crate::params::View;

    #[test]
    fn with_batch_normalization_training_outputs_do_not_depend_on_the_scale_of_a_hidden_layer() {
        let arch = MlpArch { inputs: 4, hidden: vec![6, 5], classes: 3, batch_norm: true, init: InitScheme::HeNormal };
        let net = random_network(Arch::Mlp(arch), 3);
        let x = images(1, &[16, 4]);
        let forward = || net.model.forward(&Cx::train(&View::plain(&net.store)), &x);
        let before = forward();
        for name in ["fc2.weight", "fc2.bias"] {
            let id = net.store.find(name).unwrap();
            net.store.assign(id, &(net.store.get(id).detach() * 7.0));
        }
        assert!(f64::try_from((forward() - before).abs().max()).unwrap() < 1e-4);
    }
}
