//! MobileNet V1 (Howard et al. 2017) for 32x32 and 28x28 images: a 3x3 stem, then thirteen depthwise separable blocks
//! (3x3 depthwise, BN, ReLU, 1x1 pointwise, BN, ReLU), global average pooling, one Linear layer.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::arch::{kept, length, positive};
use super::layers::{BatchNorm, Conv, Conv2d, Linear, channels_last, global_average};
use super::{Arch, Cx, InitScheme, Model};
use crate::params::channels::ChannelGroup;
use crate::params::{Builder, ParamId, ParamStore};

/// MobileNet V1 with a stem of stride 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MobilenetV1Arch {
    /// Channels, height and width of an image (0: taken from the data set).
    pub input: [i64; 3],
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    /// Output channels of the stem and of the thirteen blocks.
    pub widths: Vec<i64>,
    pub init: InitScheme,
}

impl Default for MobilenetV1Arch {
    fn default() -> MobilenetV1Arch {
        let widths = vec![32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024];
        MobilenetV1Arch { input: [0; 3], classes: 0, widths, init: InitScheme::default() }
    }
}

/// The strides of the depthwise convolutions.
const STRIDES: [i64; 13] = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1];

/// A convolution with its normalization and ReLU.
struct Unit {
    conv: Conv2d,
    bn: BatchNorm,
}

impl Unit {
    fn new(b: &mut Builder, number: usize, conv: Conv, init: InitScheme) -> Unit {
        Unit {
            conv: Conv2d::new(&mut b.part(format!("conv{number}")), conv, init),
            bn: BatchNorm::new(&mut b.part(format!("bn{number}")), conv.outputs),
        }
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        cx.tap(&self.conv.name, self.bn.forward(cx, &self.conv.forward(cx, x)).relu())
    }
}

struct Block {
    depthwise: Unit,
    pointwise: Unit,
}

pub struct MobilenetV1 {
    arch: MobilenetV1Arch,
    stem: Unit,
    blocks: Vec<Block>,
    linear: Linear,
}

impl MobilenetV1 {
    pub fn new(b: &mut Builder, arch: &MobilenetV1Arch) -> Result<MobilenetV1> {
        positive("input", &arch.input)?;
        positive("classes", &[arch.classes])?;
        length("widths", &arch.widths, STRIDES.len() + 1)?;
        positive("widths", &arch.widths)?;
        let init = arch.init;
        let stem = Unit::new(b, 1, Conv::new(arch.input[0], arch.widths[0], 3).padding(1), init);
        let mut blocks = Vec::new();
        for (i, (pair, stride)) in arch.widths.windows(2).zip(STRIDES).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            let mut b = b.part(format!("layers.{i}"));
            let depthwise = Conv::new(inputs, inputs, 3).stride(stride).padding(1).groups(inputs);
            blocks.push(Block {
                depthwise: Unit::new(&mut b, 1, depthwise, init),
                pointwise: Unit::new(&mut b, 2, Conv::new(inputs, outputs, 1), init),
            });
        }
        let features = arch.widths[STRIDES.len()];
        let linear = Linear::new(&mut b.part("linear"), features, arch.classes, true, init);
        Ok(MobilenetV1 { arch: arch.clone(), stem, blocks, linear })
    }
}

impl Model for MobilenetV1 {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.linear.forward(cx, &self.features(cx, x))
    }

    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let block = |x: Tensor, b: &Block| b.pointwise.forward(cx, &b.depthwise.forward(cx, &x));
        global_average(&self.blocks.iter().fold(self.stem.forward(cx, &channels_last(x)), block))
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.linear.params()
    }

    fn convolutions(&self) -> Vec<&Conv2d> {
        let units = self.blocks.iter().flat_map(|block| [&block.depthwise, &block.pointwise]);
        [&self.stem].into_iter().chain(units).map(|unit| &unit.conv).collect()
    }

    /// The stem's and each pointwise convolution's channels. A depthwise filter belongs to the channel it filters, so it and
    /// its BN go with the producer before it.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup> {
        let producers = [&self.stem].into_iter().chain(self.blocks.iter().map(|b| &b.pointwise));
        let group = |(i, unit): (usize, &Unit)| {
            let group = ChannelGroup::inner(&unit.conv.name, unit.conv.outputs(store));
            let group = group.producer(unit.conv.params()).norm(unit.bn.per_channel());
            match self.blocks.get(i) {
                None => group.consumer(self.linear.weight, 1),
                Some(Block { depthwise, pointwise }) => group
                    .producer(depthwise.conv.params())
                    .norm(depthwise.bn.per_channel())
                    .consumer(pointwise.conv.weight, 1),
            }
        };
        producers.enumerate().map(group).collect()
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        let widths = keep.iter().map(|flags| kept(flags)).collect();
        Arch::MobilenetV1(MobilenetV1Arch { widths, ..self.arch.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::testing::parameters;

    #[test]
    fn size_is_that_of_the_published_cifar_form() {
        let arch = MobilenetV1Arch { input: [3, 32, 32], classes: 10, ..MobilenetV1Arch::default() };
        assert_eq!(parameters(Arch::MobilenetV1(arch)), 3_217_226);
    }
}
