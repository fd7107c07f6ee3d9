//! One gate module, and what it does to a block.

use tch::{Kind, Tensor};

/// W1 `[h, C]`, b1 `[h]`, W2 `[G, h]`, b2 `[G]`.
pub struct Gate<'a> {
    pub w1: &'a Tensor,
    pub b1: &'a Tensor,
    pub w2: &'a Tensor,
    pub b2: &'a Tensor,
}

/// p = GAP(x): `[N, C, H, W]` to `[N, C]`; vectors stay.
pub fn pool(x: &Tensor) -> Tensor {
    if x.dim() == 4 { x.mean_dim([2i64, 3].as_slice(), false, None::<Kind>) } else { x.shallow_clone() }
}

impl Gate<'_> {
    /// pi = sigmoid(W2 relu(W1 p + b1) + b2) `[N, G]` of pooled inputs `[N, C]`.
    pub fn probability(&self, pooled: &Tensor) -> Tensor {
        pooled.linear(self.w1, Some(self.b1)).relu().linear(self.w2, Some(self.b2)).sigmoid()
    }
}

/// g = 1[pi > threshold] with dg/dpi := 1. The difference that carries the gradient is exactly 0, so g is exactly 0 or 1.
pub fn straight_through(prob: &Tensor, threshold: f64) -> Tensor {
    prob.detach().gt(threshold).to_kind(prob.kind()) + (prob - prob.detach())
}

/// g F: `gate` `[N, 1]` or `[N, C]` over the map `f` `[N, C, H, W]` (or the vector `[N, C]`).
pub fn gated(f: &Tensor, gate: &Tensor) -> Tensor {
    let gate = gate.to_kind(f.kind());
    if f.dim() == 4 { f * gate.unsqueeze(-1).unsqueeze(-1) } else { f * gate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_exactly_binary_and_passes_the_gradient_on() {
        let prob = Tensor::from_slice(&[0.3f32, 0.5, 0.7]).set_requires_grad(true);
        let gate = straight_through(&prob, 0.5);
        assert_eq!(Vec::<f32>::try_from(&gate).unwrap(), [0.0, 0.0, 1.0]);
        let weights = Tensor::from_slice(&[1.0f32, 2.0, 3.0]);
        let grad = Tensor::run_backward(&[(gate * weights).sum(Kind::Float)], &[&prob], false, false);
        assert_eq!(Vec::<f32>::try_from(&grad[0]).unwrap(), [1.0, 2.0, 3.0]);
    }
}
