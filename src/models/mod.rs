//! Networks as pure functions of (parameters, input). A network is built once from its [`Arch`] as a struct of parameter ids;
//! it owns no tensors.

mod arch;
mod context;
pub mod layers;
mod mlp;

pub use arch::{Arch, InitScheme};
pub use context::{Cost, Cx, LayerCost, Taps};

use tch::Tensor;

use crate::params::{ParamId, ParamStore, channels::ChannelGroup};

/// A network. `forward` maps `[N, ...]` inputs to `[N, classes]` logits.
pub trait Model {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor;

    /// What the classifier reads: `[N, features]`. Models whose last layer is one Linear layer split there.
    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor;

    /// The parameters of the last layer (weight, then bias if there is one).
    fn classifier(&self) -> Vec<ParamId>;

    /// The groups of coupled channels that may be cut, in the order of the network. Never the outputs of the classifier nor
    /// the inputs of the first layer.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup>;

    /// The architecture after cutting the channels of `channel_groups` whose flag is false.
    fn cut(&self, keep: &[Vec<bool>]) -> Arch;
}
