//! w x / sqrt(mean(x^2) + eps), computed in float32 at least.

use tch::Tensor;

use crate::models::Cx;
use crate::params::{Builder, Init, ParamId, Role};

pub struct RmsNorm {
    pub weight: ParamId,
    size: i64,
    eps: f64,
}

impl RmsNorm {
    /// Over the last dimension of `size` values.
    pub fn new(mut b: Builder, size: i64, eps: f64) -> RmsNorm {
        RmsNorm { weight: b.tensor("weight", Role::NormScale, &[size], Init::Constant(1.0)), size, eps }
    }

    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        x.rms_norm([self.size], Some(cx.get(self.weight)), self.eps)
    }
}
