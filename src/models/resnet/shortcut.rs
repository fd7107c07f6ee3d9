//! How a block's input reaches the addition.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::models::Cx;
use crate::models::layers::{BatchNorm, Conv2d};

/// The shortcut of the blocks that change the shape (He et al. 2016, section 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShortcutKind {
    /// Every second pixel, zeros for the new channels; no parameters.
    #[default]
    A,
    /// 1x1 convolution with stride 2 and BN.
    B,
}

/// The shortcut of one block.
pub enum Shortcut {
    Identity,
    ZeroPad(ZeroPad),
    Projection { conv: Conv2d, bn: BatchNorm },
}

impl Shortcut {
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        match self {
            Shortcut::Identity => x.shallow_clone(),
            Shortcut::ZeroPad(pad) => pad.forward(x),
            Shortcut::Projection { conv, bn } => bn.forward(cx, &conv.forward(cx, x)),
        }
    }
}

/// Option A: y = zero-pad(x[:, :, ::stride, ::stride]). Two numbers describe cut networks too: a channel that is cut is cut in
/// every stage that carries it, so what a stage takes over from the one before stays contiguous.
#[derive(Clone, Copy)]
pub struct ZeroPad {
    stride: i64,
    /// Zero channels before and after those of x.
    before: i64,
    after: i64,
}

impl ZeroPad {
    /// `before` zero channels, the `inputs` channels, zero channels up to `outputs`.
    pub fn new(inputs: i64, outputs: i64, before: i64, stride: i64) -> ZeroPad {
        ZeroPad { stride, before, after: outputs - inputs - before }
    }

    /// Half of the new channels before, half after (the odd one after).
    pub fn centred(inputs: i64, outputs: i64, stride: i64) -> ZeroPad {
        ZeroPad::new(inputs, outputs, (outputs - inputs) / 2, stride)
    }

    /// `[N, inputs, H, W]` to `[N, outputs, ceil(H/stride), ceil(W/stride)]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let pixels = x.slice(2, None, None, self.stride).slice(3, None, None, self.stride);
        pixels.constant_pad_nd([0, 0, 0, 0, self.before, self.after])
    }
}
