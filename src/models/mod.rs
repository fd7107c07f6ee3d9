//! Networks as pure functions of (parameters, input). A network is built once from its [`Arch`] as a struct of parameter ids;
//! it owns no tensors.

mod arch;
pub mod checkpoint;
mod context;
mod conv_net;
pub mod decoder;
pub mod encoder;
pub mod hub;
pub mod layers;
mod lenet5;
mod mlp;
mod mobilenet_v1;
mod ops;
pub mod resnet;
#[cfg(test)]
pub mod testing;
pub mod torchscript;
mod vgg16_bn;

pub use arch::{Arch, InitScheme};
pub use context::{Cost, Cx, LayerCost, Taps};
pub use conv_net::{Activation, Border, ConvNetArch};
pub use decoder::{Decoder, DecoderConfig};
pub use encoder::{Encoder, EncoderConfig};
pub use lenet5::Lenet5Arch;
pub use mlp::MlpArch;
pub use mobilenet_v1::MobilenetV1Arch;
pub use ops::OPS;
pub use resnet::{CifarResnetArch, Resnet50Arch, ResnetArch};
pub use vgg16_bn::Vgg16BnArch;

use anyhow::{Context, Result};
use tch::{Device, Tensor};

use crate::params::{ParamId, ParamStore, View, channels::ChannelGroup};
use layers::Conv2d;

/// A network. `forward` maps `[N, ...]` inputs to `[N, classes]` logits.
pub trait Model {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor;

    /// What the classifier reads: `[N, features]`. Models whose last layer is one Linear layer split there.
    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor;

    /// The parameters of the last layer (weight, then bias if there is one).
    fn classifier(&self) -> Vec<ParamId>;

    /// Its convolutions, in the order of the network; none unless it says so.
    fn convolutions(&self) -> Vec<&Conv2d> {
        Vec::new()
    }

    /// The groups of coupled channels that may be cut: inner groups in the order of the network, then residual streams. Never
    /// the outputs of the classifier nor the inputs of the first layer.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup>;

    /// The architecture after cutting the channels of `channel_groups` whose flag is false.
    fn cut(&self, keep: &[Vec<bool>]) -> Arch;

    /// The decoder itself, if it is one: caches, masks, hidden states.
    fn decoder(&self) -> Option<&Decoder> {
        None
    }

    /// The encoder itself, if it is one.
    fn encoder(&self) -> Option<&Encoder> {
        None
    }
}

/// A network with its description and its parameters: what is built, cut, saved and loaded as one.
pub struct Network {
    pub arch: Arch,
    pub store: ParamStore,
    pub model: Box<dyn Model>,
}

impl Network {
    /// A fresh network on `device`, its initial values from `seed`.
    pub fn build(arch: Arch, seed: u64, device: Device) -> Result<Network> {
        let mut store = ParamStore::new(device);
        let model = arch.build(&mut store, seed)?;
        Ok(Network { arch, store, model })
    }

    /// The plain network whose weights are what `view`, a view of this network's store, shows: reparameterizations become
    /// ordinary weights, and tensors that a method added after the network's own are left out.
    pub fn folded(&self, view: &View) -> Result<Network> {
        let plain = Network::build(self.arch.clone(), 0, self.store.device())?;
        plain.store.ids().for_each(|id| plain.store.assign(id, &tch::no_grad(|| view.dense(id))));
        Ok(plain)
    }

    /// The network as a decoder; another kind of network is an error.
    pub fn decoder(&self) -> Result<&Decoder> {
        self.model.decoder().context("the network is not a decoder (llama, qwen2, qwen3_moe, olmoe, deepseek)")
    }

    /// The network as an encoder; another kind of network is an error.
    pub fn encoder(&self) -> Result<&Encoder> {
        self.model.encoder().context("the network is not an encoder (bert, roberta)")
    }

    /// Logits in evaluation mode, without gradients.
    pub fn evaluate(&self, x: &Tensor) -> Tensor {
        tch::no_grad(|| self.model.forward(&Cx::eval(&View::plain(&self.store)), x))
    }
}
