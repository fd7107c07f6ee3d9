//! A plain convolutional network: convolutions of one kernel size, each with an activation and on request 2x2 max pooling,
//! then Linear layers. `conv1`, `bn1`, ..., `fc1`, ...: widths, strides and borders are free, so that the small networks of many
//! papers are one architecture here.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::arch::{kept, length, positive};
use super::layers::{BatchNorm, Conv, Conv2d, Linear, channels_last};
use super::{Arch, Cx, InitScheme, Model};
use crate::params::channels::ChannelGroup;
use crate::params::{Builder, ParamId, ParamStore};

/// What lies around an image; either way stride 1 keeps its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// Zeros.
    #[default]
    Zero,
    /// The image itself, which wraps around.
    Circular,
}

/// The nonlinearity after every layer but the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    #[default]
    Relu,
    /// The maxima, then the minima of pairs of channels (2i, 2i+1): keeps the norm (Anil, Lucas, Grosse 2019).
    Maxmin,
}

impl Activation {
    /// `[N, C, ..]` to the same shape; maxmin needs an even C.
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Activation::Relu => x.relu(),
            Activation::Maxmin => {
                let pairs = x.unflatten(1, [x.size()[1] / 2, 2]);
                let (a, b) = (pairs.select(2, 0), pairs.select(2, 1));
                Tensor::cat(&[a.maximum(&b), a.minimum(&b)], 1)
            }
        }
    }
}

/// A plain convolutional network with free widths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConvNetArch {
    /// Channels, height and width of an image (0: taken from the data set).
    pub input: [i64; 3],
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    /// Output channels of each convolution.
    pub widths: Vec<i64>,
    /// Stride of each convolution; empty: 1.
    pub strides: Vec<i64>,
    /// Side of all kernels, odd with zero borders.
    pub kernel: i64,
    pub border: Border,
    /// The convolutions, counted from 1, that 2x2 max pooling follows.
    pub pool_after: Vec<usize>,
    /// Widths of the hidden Linear layers.
    pub hidden: Vec<i64>,
    pub activation: Activation,
    /// Biases of the convolutions.
    pub bias: bool,
    /// Batch normalization between each convolution and its activation.
    pub batch_norm: bool,
    /// Share of the classifier's inputs that a training pass drops, 0 to below 1.
    pub dropout: f64,
    /// What the outputs are multiplied with, above 0: layers that keep the norm cannot make large logits.
    pub logit_scale: f64,
    pub init: InitScheme,
}

impl Default for ConvNetArch {
    fn default() -> ConvNetArch {
        ConvNetArch {
            input: [0; 3],
            classes: 0,
            widths: vec![16, 32],
            strides: Vec::new(),
            kernel: 3,
            border: Border::Zero,
            pool_after: Vec::new(),
            hidden: Vec::new(),
            activation: Activation::Relu,
            bias: true,
            batch_norm: false,
            dropout: 0.0,
            logit_scale: 1.0,
            init: InitScheme::default(),
        }
    }
}

impl ConvNetArch {
    fn stride(&self, layer: usize) -> i64 {
        self.strides.get(layer).copied().unwrap_or(1)
    }

    fn pools(&self, layer: usize) -> bool {
        self.pool_after.contains(&(layer + 1))
    }

    /// Height and width of the map that fc1 reads.
    fn map(&self) -> Result<[i64; 2]> {
        let mut map = [self.input[1], self.input[2]];
        for layer in 0..self.widths.len() {
            let stride = self.stride(layer);
            ensure!(
                self.border == Border::Zero || map.iter().all(|size| size % stride == 0),
                "model.strides[{layer}] = {stride} must divide the map of {}x{} pixels with circular borders",
                map[0],
                map[1]
            );
            map = map.map(|size| (size - 1) / stride + 1);
            map = if self.pools(layer) { map.map(|size| size / 2) } else { map };
            let pixels = map.iter().all(|&size| size > 0);
            ensure!(pixels, "model.pool_after leaves no pixel after conv{}", layer + 1);
        }
        Ok(map)
    }

    fn check(&self) -> Result<()> {
        positive("input", &self.input)?;
        positive("classes", &[self.classes])?;
        positive("widths", &self.widths)?;
        ensure!(!self.widths.is_empty(), "model.widths is empty; without convolutions use model.name = \"mlp\"");
        if !self.strides.is_empty() {
            length("strides", &self.strides, self.widths.len())?;
            positive("strides", &self.strides)?;
        }
        positive("kernel", &[self.kernel])?;
        ensure!(
            self.border == Border::Circular || self.kernel % 2 == 1,
            "model.kernel = {} should be odd with zero borders",
            self.kernel
        );
        positive("hidden", &self.hidden)?;
        let unknown = self.pool_after.iter().find(|&&layer| layer == 0 || layer > self.widths.len());
        ensure!(
            unknown.is_none(),
            "model.pool_after has {}, but the convolutions are 1 to {}",
            unknown.copied().unwrap_or(0),
            self.widths.len()
        );
        let odd = self.widths.iter().chain(&self.hidden).find(|&width| width % 2 == 1);
        ensure!(
            self.activation == Activation::Relu || odd.is_none(),
            "model.activation = \"maxmin\" pairs channels, but a layer has {} of them: widths must be even",
            odd.copied().unwrap_or(0)
        );
        ensure!((0.0..1.0).contains(&self.dropout), "model.dropout = {} must be 0 to below 1", self.dropout);
        let scale = self.logit_scale;
        ensure!(scale.is_finite() && scale > 0.0, "model.logit_scale = {scale} must be above 0");
        Ok(())
    }
}

pub struct ConvNet {
    arch: ConvNetArch,
    convs: Vec<Conv2d>,
    /// One a convolution, or none.
    norms: Vec<BatchNorm>,
    linear: Vec<Linear>,
    /// Pixels of the map that fc1 reads.
    pixels: i64,
}

impl ConvNet {
    pub fn new(b: &mut Builder, arch: &ConvNetArch) -> Result<ConvNet> {
        arch.check()?;
        let pixels = arch.map()?.iter().product();
        let channels = [&arch.input[..1], &arch.widths[..]].concat();
        let conv = |(i, pair): (usize, &[i64])| {
            let conv = Conv { bias: arch.bias, ..Conv::new(pair[0], pair[1], arch.kernel).stride(arch.stride(i)) };
            let conv = match arch.border {
                Border::Circular => conv.circular(),
                Border::Zero => conv.padding(arch.kernel / 2),
            };
            Conv2d::new(&mut b.part(format!("conv{}", i + 1)), conv, arch.init)
        };
        let convs = channels.windows(2).enumerate().map(conv).collect();
        let normed = if arch.batch_norm { &arch.widths[..] } else { &[] };
        let norm = |(i, &width): (usize, &i64)| BatchNorm::new(&mut b.part(format!("bn{}", i + 1)), width);
        let norms = normed.iter().enumerate().map(norm).collect();
        let widths = [&[channels[channels.len() - 1] * pixels], &arch.hidden[..], &[arch.classes]].concat();
        let layer =
            |(i, w): (usize, &[i64])| Linear::new(&mut b.part(format!("fc{}", i + 1)), w[0], w[1], true, arch.init);
        let linear = widths.windows(2).enumerate().map(layer).collect();
        Ok(ConvNet { arch: arch.clone(), convs, norms, linear, pixels })
    }

    fn last(&self) -> &Linear {
        self.linear.last().expect("at least the classifier")
    }
}

impl Model for ConvNet {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let logits = self.last().forward(cx, &self.features(cx, x));
        if self.arch.logit_scale == 1.0 { logits } else { logits * self.arch.logit_scale }
    }

    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let act = |name: &str, y: &Tensor| cx.tap(name, self.arch.activation.apply(y));
        let mut x = channels_last(x);
        for (i, conv) in self.convs.iter().enumerate() {
            let y = conv.forward(cx, &x);
            let y = self.norms.get(i).map_or_else(|| y.shallow_clone(), |norm| norm.forward(cx, &y));
            x = act(&conv.name, &y);
            x = if self.arch.pools(i) { x.max_pool2d_default(2) } else { x };
        }
        let hidden = &self.linear[..self.linear.len() - 1];
        let x = hidden.iter().fold(x.flatten(1, -1), |x, fc| act(&fc.name, &fc.forward(cx, &x)));
        if cx.train && self.arch.dropout > 0.0 { x.dropout(self.arch.dropout, true) } else { x }
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.last().params()
    }

    fn convolutions(&self) -> Vec<&Conv2d> {
        self.convs.iter().collect()
    }

    /// Every convolution's channels and every hidden Linear layer's neurons; none with maxmin, which mixes pairs of them.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup> {
        if self.arch.activation == Activation::Maxmin {
            return Vec::new();
        }
        let readers = self.convs[1..].iter().map(|conv| (conv.weight, 1)).chain([(self.linear[0].weight, self.pixels)]);
        let conv = |(i, (conv, (reader, columns))): (usize, (&Conv2d, (ParamId, i64)))| {
            let group = ChannelGroup::inner(&conv.name, conv.outputs(store)).producer(conv.params());
            let norm = self.norms.get(i).into_iter().flat_map(BatchNorm::per_channel);
            group.norm(norm).consumer(reader, columns)
        };
        let fc = |pair: &[Linear]| {
            let group = ChannelGroup::inner(&pair[0].name, pair[0].outputs(store)).producer(pair[0].params());
            group.consumer(pair[1].weight, 1)
        };
        let convs = self.convs.iter().zip(readers).enumerate().map(conv);
        convs.chain(self.linear.windows(2).map(fc)).collect()
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        if keep.is_empty() {
            return Arch::ConvNet(self.arch.clone());
        }
        let kept: Vec<i64> = keep.iter().map(|flags| kept(flags)).collect();
        let (widths, hidden) = kept.split_at(self.convs.len());
        Arch::ConvNet(ConvNetArch { widths: widths.to_vec(), hidden: hidden.to_vec(), ..self.arch.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network;
    use crate::models::testing::{images, random_network};
    use crate::pruning::cut::cut;
    use tch::{Device, Kind};

    fn arch() -> ConvNetArch {
        ConvNetArch { input: [1, 8, 8], classes: 3, strides: vec![1, 2], hidden: vec![6], ..ConvNetArch::default() }
    }

    fn refusal(arch: ConvNetArch) -> String {
        let mut store = ParamStore::new(Device::Cpu);
        Arch::ConvNet(arch).build(&mut store, 0).err().unwrap().to_string()
    }

    #[test]
    fn with_circular_borders_a_shifted_image_gives_shifted_maps() {
        let arch = ConvNetArch { border: Border::Circular, hidden: vec![], strides: vec![], ..arch() };
        let net = random_network(Arch::ConvNet(arch), 1);
        let x = images(2, &[2, 1, 8, 8]);
        let features = |x: &Tensor| {
            let view = crate::params::View::plain(&net.store);
            tch::no_grad(|| net.model.features(&Cx::eval(&view), x)).view([2, 32, 8, 8])
        };
        let shifted = features(&x.roll([3, 5], [2, 3]));
        assert!(shifted.allclose(&features(&x).roll([3, 5], [2, 3]), 1e-5, 1e-6, false));
        assert!(!shifted.allclose(&features(&x), 1e-2, 1e-2, false));
    }

    #[test]
    fn maxmin_keeps_the_norm_and_puts_the_maxima_first() {
        let x = Tensor::from_slice(&[1.0, 4.0, -2.0, -3.0]).view([1, 4]);
        assert_eq!(Activation::Maxmin.apply(&x), Tensor::from_slice(&[4.0, -2.0, 1.0, -3.0]).view([1, 4]));
    }

    #[test]
    fn dead_channels_can_be_cut() {
        let net = random_network(Arch::ConvNet(ConvNetArch { batch_norm: true, pool_after: vec![1], ..arch() }), 3);
        for name in ["bn1.weight", "bn1.bias", "fc1.weight", "fc1.bias"] {
            let id = net.store.find(name).unwrap();
            let _ = net.store.get(id).detach().get(2).fill_(0.0);
        }
        let groups = net.model.channel_groups(&net.store);
        let mut keep: Vec<Vec<bool>> = groups.iter().map(|group| vec![true; group.channels]).collect();
        (keep[0][2], keep[2][2]) = (false, false);
        let small = cut(&*net.model, &net.store, &keep).unwrap();
        let x = images(4, &[2, 1, 8, 8]);
        assert!(small.evaluate(&x).allclose(&net.evaluate(&x), 1e-5, 1e-6, false));
        assert_eq!(small.store.get(small.store.find("conv1.weight").unwrap()).size(), [15, 1, 3, 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_field() {
        assert!(
            refusal(ConvNetArch { activation: Activation::Maxmin, widths: vec![4, 3], ..arch() }).contains("maxmin")
        );
        assert!(refusal(ConvNetArch { pool_after: vec![3], ..arch() }).contains("model.pool_after has 3"));
        assert!(refusal(ConvNetArch { kernel: 4, ..arch() }).contains("model.kernel = 4"));
        assert!(refusal(ConvNetArch { logit_scale: 0.0, ..arch() }).contains("model.logit_scale = 0"));
        let circular = ConvNetArch { border: Border::Circular, strides: vec![1, 3], ..arch() };
        assert!(refusal(circular).contains("model.strides[1] = 3"));
    }

    #[test]
    fn logits_are_scaled() {
        let of = |logit_scale| {
            let net = Network::build(Arch::ConvNet(ConvNetArch { logit_scale, ..arch() }), 1, Device::Cpu).unwrap();
            net.evaluate(&Tensor::ones([1, 1, 8, 8], (Kind::Float, Device::Cpu)))
        };
        assert!(of(5.0).allclose(&(of(1.0) * 5.0), 1e-6, 1e-6, false));
    }
}
