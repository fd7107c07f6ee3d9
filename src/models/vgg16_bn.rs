//! VGG-16 with batch normalization (Simonyan, Zisserman 2015, configuration D) for 32x32 images: torchvision's `features.N`
//! (conv with bias, BN, ReLU; 2x2 max pooling), then one Linear layer in place of the three wide ones.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::arch::{kept, length, positive};
use super::layers::{BatchNorm, Conv, Conv2d, Linear, channels_last, global_average};
use super::{Arch, Cx, InitScheme, Model};
use crate::params::channels::ChannelGroup;
use crate::params::{Builder, ParamId, ParamStore};

/// VGG-16 with batch normalization, for images of at least 32x32 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vgg16BnArch {
    /// Channels, height and width of an image (0: taken from the data set).
    pub input: [i64; 3],
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    /// Output channels of the thirteen convolutions.
    pub widths: Vec<i64>,
    pub init: InitScheme,
}

impl Default for Vgg16BnArch {
    fn default() -> Vgg16BnArch {
        let widths = vec![64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512];
        Vgg16BnArch { input: [0; 3], classes: 0, widths, init: InitScheme::default() }
    }
}

/// A 2x2 pooling follows the convolutions with these (zero-based) numbers.
const POOL_AFTER: [usize; 5] = [1, 3, 6, 9, 12];

pub struct Vgg16Bn {
    arch: Vgg16BnArch,
    features: Vec<(Conv2d, BatchNorm)>,
    classifier: Linear,
}

impl Vgg16Bn {
    pub fn new(b: &mut Builder, arch: &Vgg16BnArch) -> Result<Vgg16Bn> {
        positive("input", &arch.input)?;
        positive("classes", &[arch.classes])?;
        length("widths", &arch.widths, 13)?;
        positive("widths", &arch.widths)?;
        let [channels, h, w] = arch.input;
        ensure!(h.min(w) >= 32, "vgg16-bn needs images of at least 32x32 pixels, got {h}x{w}");
        let mut features = Vec::new();
        let (mut inputs, mut place) = (channels, 0);
        for (i, &outputs) in arch.widths.iter().enumerate() {
            let conv = Conv::new(inputs, outputs, 3).padding(1).bias();
            let conv = Conv2d::new(&mut b.part(format!("features.{place}")), conv, arch.init);
            let bn = BatchNorm::new(&mut b.part(format!("features.{}", place + 1)), outputs);
            features.push((conv, bn));
            inputs = outputs;
            place += if POOL_AFTER.contains(&i) { 4 } else { 3 };
        }
        let classifier = Linear::new(&mut b.part("classifier"), inputs, arch.classes, true, arch.init);
        Ok(Vgg16Bn { arch: arch.clone(), features, classifier })
    }
}

impl Model for Vgg16Bn {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.classifier.forward(cx, &self.features(cx, x))
    }

    /// `[N, 512]`: the last map is 1x1 for 32x32 images and averaged for larger ones.
    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let block = |x: Tensor, (i, (conv, bn)): (usize, &(Conv2d, BatchNorm))| {
            let y = cx.tap(&conv.name, bn.forward(cx, &conv.forward(cx, &x)).relu());
            if POOL_AFTER.contains(&i) { y.max_pool2d_default(2) } else { y }
        };
        global_average(&self.features.iter().enumerate().fold(channels_last(x), block))
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.classifier.params()
    }

    fn convolutions(&self) -> Vec<&Conv2d> {
        self.features.iter().map(|(conv, _)| conv).collect()
    }

    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup> {
        let readers = self.features[1..].iter().map(|(conv, _)| conv.weight).chain([self.classifier.weight]);
        let group = |((conv, bn), reader): (&(Conv2d, BatchNorm), ParamId)| {
            let group = ChannelGroup::inner(&conv.name, conv.outputs(store)).producer(conv.params());
            group.norm(bn.per_channel()).consumer(reader, 1)
        };
        self.features.iter().zip(readers).map(group).collect()
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        let widths = keep.iter().map(|flags| kept(flags)).collect();
        Arch::Vgg16Bn(Vgg16BnArch { widths, ..self.arch.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::cost::cost;
    use crate::models::Network;

    #[test]
    fn size_and_names_are_those_of_torchvision() {
        let arch = Vgg16BnArch { input: [3, 32, 32], classes: 10, ..Vgg16BnArch::default() };
        let net = Network::build(Arch::Vgg16Bn(arch), 0, tch::Device::Cpu).unwrap();
        let cost = cost(net.model.as_ref(), &net.store, &[3, 32, 32]);
        assert_eq!((cost.macs(), cost.params()), (313_201_664, 14_728_266));
        for name in ["features.0.bias", "features.7.weight", "features.8.running_var", "features.40.weight"] {
            net.store.find(name).unwrap();
        }
        assert_eq!(net.store.get(net.store.find("features.41.weight").unwrap()).size(), [512]);
        assert_eq!(net.store.get(net.store.find("classifier.weight").unwrap()).size(), [10, 512]);
    }
}
