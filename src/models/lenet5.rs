//! LeNet-5 (LeCun et al. 1998) in the form of the Caffe and PyTorch examples: conv1 5x5, pool, conv2 5x5, pool, fc1, fc2, fc3;
//! ReLU and 2x2 max pooling.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::arch::{kept, length, positive};
use super::layers::{Conv, Conv2d, Linear};
use super::{Arch, Cx, InitScheme, Model};
use crate::params::channels::ChannelGroup;
use crate::params::{Builder, ParamId, ParamStore};

/// LeNet-5 for 28x28 or 32x32 images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lenet5Arch {
    /// Channels, height and width of an image (0: taken from the data set).
    pub input: [i64; 3],
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    /// Output channels of the two convolutions.
    pub conv: Vec<i64>,
    /// Widths of the two hidden Linear layers.
    pub hidden: Vec<i64>,
    /// Zeros around the image. 0: unpadded convolutions, 44 426 parameters on MNIST. 2: the original's 32x32 canvas for a
    /// 28x28 digit, 61 706 parameters.
    pub padding: i64,
    pub init: InitScheme,
}

impl Default for Lenet5Arch {
    fn default() -> Lenet5Arch {
        let (conv, hidden) = (vec![6, 16], vec![120, 84]);
        Lenet5Arch { input: [0; 3], classes: 0, conv, hidden, padding: 0, init: InitScheme::default() }
    }
}

impl Lenet5Arch {
    /// Height and width of the map that fc1 reads.
    fn map(&self) -> [i64; 2] {
        let after_block = |size: i64| (size - 4) / 2;
        [self.input[1], self.input[2]].map(|size| after_block(after_block(size + 2 * self.padding)))
    }
}

pub struct Lenet5 {
    arch: Lenet5Arch,
    conv: [Conv2d; 2],
    hidden: [Linear; 2],
    fc3: Linear,
}

impl Lenet5 {
    pub fn new(b: &mut Builder, arch: &Lenet5Arch) -> Result<Lenet5> {
        positive("input", &arch.input)?;
        positive("classes", &[arch.classes])?;
        length("conv", &arch.conv, 2)?;
        positive("conv", &arch.conv)?;
        length("hidden", &arch.hidden, 2)?;
        positive("hidden", &arch.hidden)?;
        ensure!(arch.padding >= 0, "model.padding = {} must not be negative", arch.padding);
        let ([height, width], [_, h, w]) = (arch.map(), arch.input);
        ensure!(
            height > 0 && width > 0,
            "lenet5 needs images of at least 16x16 pixels (padding included), got {h}x{w}"
        );
        let (c, f, init) = (&arch.conv, &arch.hidden, arch.init);
        let first = Conv::new(arch.input[0], c[0], 5).padding(arch.padding).bias();
        Ok(Lenet5 {
            arch: arch.clone(),
            conv: [
                Conv2d::new(&mut b.part("conv1"), first, init),
                Conv2d::new(&mut b.part("conv2"), Conv::new(c[0], c[1], 5).bias(), init),
            ],
            hidden: [
                Linear::new(&mut b.part("fc1"), c[1] * height * width, f[0], true, init),
                Linear::new(&mut b.part("fc2"), f[0], f[1], true, init),
            ],
            fc3: Linear::new(&mut b.part("fc3"), f[1], arch.classes, true, init),
        })
    }
}

impl Model for Lenet5 {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.fc3.forward(cx, &self.features(cx, x))
    }

    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let block = |x: Tensor, conv: &Conv2d| cx.tap(&conv.name, conv.forward(cx, &x).relu()).max_pool2d_default(2);
        let neurons = |x: Tensor, fc: &Linear| cx.tap(&fc.name, fc.forward(cx, &x).relu());
        let map = self.conv.iter().fold(x.shallow_clone(), block);
        self.hidden.iter().fold(map.flatten(1, -1), neurons)
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.fc3.params()
    }

    fn convolutions(&self) -> Vec<&Conv2d> {
        self.conv.iter().collect()
    }

    /// Both convolutions (the second is read by fc1, H*W columns a channel) and both hidden layers.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup> {
        let ([conv1, conv2], [fc1, fc2]) = (&self.conv, &self.hidden);
        let map = self.arch.map().iter().product();
        let group = |name: &str, channels, producer| ChannelGroup::inner(name, channels).producer(producer);
        vec![
            group(&conv1.name, conv1.outputs(store), conv1.params()).consumer(conv2.weight, 1),
            group(&conv2.name, conv2.outputs(store), conv2.params()).consumer(fc1.weight, map),
            group(&fc1.name, fc1.outputs(store), fc1.params()).consumer(fc2.weight, 1),
            group(&fc2.name, fc2.outputs(store), fc2.params()).consumer(self.fc3.weight, 1),
        ]
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        let widths: Vec<i64> = keep.iter().map(|flags| kept(flags)).collect();
        let (conv, hidden) = (widths[..2].to_vec(), widths[2..].to_vec());
        Arch::Lenet5(Lenet5Arch { conv, hidden, ..self.arch.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::testing::parameters;

    #[test]
    fn sizes_are_those_of_the_literature() {
        let arch = |input, padding| Arch::Lenet5(Lenet5Arch { input, classes: 10, padding, ..Lenet5Arch::default() });
        assert_eq!(parameters(arch([1, 28, 28], 0)), 44_426);
        assert_eq!(parameters(arch([1, 28, 28], 2)), 61_706);
        assert_eq!(parameters(arch([3, 32, 32], 0)), 62_006);
    }

    #[test]
    fn images_that_are_too_small_are_refused() {
        let arch = Lenet5Arch { input: [1, 8, 8], classes: 10, ..Lenet5Arch::default() };
        let mut store = ParamStore::new(tch::Device::Cpu);
        let message = Arch::Lenet5(arch).build(&mut store, 0).err().unwrap().to_string();
        assert!(message.contains("at least 16x16") && message.contains("8x8"), "{message}");
    }
}
