//! Multi-layer perceptron: fc1, relu, fc2, relu, ..., last layer.

use anyhow::{Result, ensure};
use tch::Tensor;

use super::arch::MlpArch;
use super::layers::Linear;
use super::{Arch, Cx, Model};
use crate::params::channels::{ChannelGroup, Member, Part};
use crate::params::{Builder, ParamId, ParamStore};

pub struct Mlp {
    arch: MlpArch,
    layers: Vec<Linear>,
}

impl Mlp {
    pub fn new(b: &mut Builder, arch: &MlpArch) -> Result<Mlp> {
        let widths = [&[arch.inputs], &arch.hidden[..], &[arch.classes]].concat();
        ensure!(widths.iter().all(|&w| w > 0), "model: every width of an mlp must be positive, got {widths:?}");
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
        [Some(self.last().weight), self.last().bias].into_iter().flatten().collect()
    }

    /// Each hidden layer's neurons: row and bias here, column in the next layer.
    fn channel_groups(&self, _store: &ParamStore) -> Vec<ChannelGroup> {
        let group = |(pair, &width): (&[Linear], &i64)| {
            let len = width as usize;
            let member = |param, dim, part| Member { param, dim, part, first: 0, len, span: 1 };
            let bias = pair[0].bias.map(|bias| member(bias, 0, Part::Producer));
            let members = [
                Some(member(pair[0].weight, 0, Part::Producer)),
                bias,
                Some(member(pair[1].weight, 1, Part::Consumer)),
            ];
            ChannelGroup {
                name: pair[0].name.clone(),
                channels: len,
                inner: true,
                members: members.into_iter().flatten().collect(),
            }
        };
        self.layers.windows(2).zip(&self.arch.hidden).map(group).collect()
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        let hidden = keep.iter().map(|flags| flags.iter().filter(|&&k| k).count() as i64).collect();
        Arch::Mlp(MlpArch { hidden, ..self.arch.clone() })
    }
}
