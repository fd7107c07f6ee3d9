//! The penalty on the scales of the channels that will go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// R.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Regularizer {
    /// |gamma|.
    #[default]
    L1,
    /// 1/2 gamma^2.
    L2,
    /// The official option: s gamma where |gamma| < lr s, else s sign(gamma); it jumps in between.
    SmoothL1,
}

impl Regularizer {
    /// s R'(gamma) (1 - keep), `[C]`: what is added to the gradient at learning rate `lr`. `masked` is 1 - keep. sign(0) = 0.
    pub fn gradient(self, gamma: &Tensor, masked: &Tensor, s: f64, lr: f64) -> Tensor {
        let slope = match self {
            Regularizer::L1 => gamma.sign(),
            Regularizer::L2 => gamma.shallow_clone(),
            Regularizer::SmoothL1 => gamma.where_self(&gamma.abs().lt(lr * s), &gamma.sign()),
        };
        slope * masked * s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_and_zero_scales_are_left_alone() {
        let gamma = Tensor::from_slice(&[0.5, -0.5, 0.0, 0.01, -0.01]);
        let masked = Tensor::from_slice(&[0.0, 1.0, 1.0, 1.0, 0.0]);
        let at = |r: Regularizer| Vec::<f64>::try_from(r.gradient(&gamma, &masked, 0.2, 0.1)).unwrap();
        assert_eq!(at(Regularizer::L1), [0.0, -0.2, 0.0, 0.2, 0.0]);
        assert_eq!(at(Regularizer::L2), [0.0, -0.1, 0.0, 0.002, 0.0]);
        assert_eq!(at(Regularizer::SmoothL1), [0.0, -0.2, 0.0, 0.002, 0.0]);
    }
}
