//! w = Psi(v; a, b) = a atan(v / b), its inverse and its initial values. Everything runs on the device of its arguments, in
//! their type: keep v in float32 (or float64) under autocast, for the gradient near the bound underflows in half precision.

use std::f64::consts::PI;
use tch::Tensor;

use crate::native;

/// Psi with its two positive numbers, each 0-d (one a layer) or `[O]` (one a filter: the first dimension of v).
pub struct Compander {
    pub a: Tensor,
    pub b: Tensor,
}

impl Compander {
    /// The bound B = c sigma, where sigma is the standard deviation of the layer's initial weights (He: sqrt(2/fan_in)),
    /// c > 0 is `bound_sigmas` and kappa > 0 is `slope`, that of Psi at zero.
    pub fn from_sigma(sigma: &Tensor, bound_sigmas: f64, slope: f64) -> Compander {
        Compander::from_bound(&(sigma * bound_sigmas), slope)
    }

    /// a = 2 B / pi and b = a / kappa.
    pub fn from_bound(bound: &Tensor, slope: f64) -> Compander {
        let a: Tensor = bound * (2.0 / PI);
        Compander { b: &a / slope, a }
    }

    /// The learned variant stores alpha = log a and beta = log b; gradients reach both. Never decay them: the bound would
    /// shrink to zero.
    pub fn from_logs(log_a: &Tensor, log_b: &Tensor) -> Compander {
        Compander { a: log_a.exp(), b: log_b.exp() }
    }

    /// B = a pi/2: |w| < B always.
    pub fn bound(&self) -> Tensor {
        &self.a * (PI / 2.0)
    }

    /// w = a atan(v / b), elementwise. Autograd gives the gradients of v, a and b; numbers that are fixed take the fused pass.
    pub fn psi(&self, v: &Tensor) -> Tensor {
        let Compander { a, b } = self;
        if a.requires_grad() || b.requires_grad() {
            return per_filter(a, v) * (v / per_filter(b, v)).atan();
        }
        native::compand(v, &a.to_kind(v.kind()), &b.to_kind(v.kind())).expect("a and b are one number, or one a filter")
    }

    /// dw/dv = a b / (b^2 + v^2), without gradient. Weight decay on w instead of v adds `wd * w * slope(v)` to v's gradient.
    pub fn slope(&self, v: &Tensor) -> Tensor {
        tch::no_grad(|| {
            let (a, b) = (per_filter(&self.a, v), per_filter(&self.b, v));
            &a * &b / (&b * &b + v * v)
        })
    }

    /// v = b tan(w / a) after w is clipped to |w| <= clip B, and the clipped w. 0 < clip < 1: tan explodes at the bound, and a
    /// weight that starts there never moves.
    pub fn inverse(&self, w: &Tensor, clip: f64) -> Inverse {
        tch::no_grad(|| {
            let w = clamp(w, &(self.bound() * clip));
            Inverse { v: per_filter(&self.b, &w) * (&w / per_filter(&self.a, &w)).tan(), w }
        })
    }
}

/// A free parameter and the weight it stands for.
pub struct Inverse {
    pub v: Tensor,
    pub w: Tensor,
}

/// The bound for a layer loaded from a plain checkpoint, 1.05 max |w| (0-d): nothing is clipped at clip 0.98. `w` is not empty;
/// an all-zero layer has bound 0 and cannot be companded.
pub fn checkpoint_bound(w: &Tensor) -> Tensor {
    w.detach().abs().max() * 1.05
}

/// Brings a number a layer (0-d) or a filter (`[O]`) into the shape in which it broadcasts against `weight` `[O, ..]`.
pub(super) fn per_filter(scale: &Tensor, weight: &Tensor) -> Tensor {
    let mut shape = scale.size();
    shape.resize(weight.dim().max(scale.dim()), 1);
    scale.to_kind(weight.kind()).view(shape.as_slice())
}

/// `w` cut to [-limit, limit], the limit a number a layer or a filter.
pub(super) fn clamp(w: &Tensor, limit: &Tensor) -> Tensor {
    let limit = per_filter(limit, w);
    w.minimum(&limit).maximum(&-limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn normal(shape: &[i64], kind: Kind) -> Tensor {
        tch::manual_seed(5);
        Tensor::randn(shape, (kind, Device::Cpu))
    }

    fn largest(tensor: &Tensor) -> f64 {
        f64::try_from(tensor.abs().max()).unwrap()
    }

    #[test]
    fn gradients_per_filter_are_those_of_the_closed_form_summed_over_the_filter() {
        let v = normal(&[3, 2, 2, 2], Kind::Double).set_requires_grad(true);
        let g = normal(&[3, 2, 2, 2], Kind::Double) + 0.5;
        let a = Tensor::from_slice(&[0.3, 0.8, 1.5]).set_requires_grad(true);
        let b = Tensor::from_slice(&[0.2, 1.0, 0.7]).set_requires_grad(true);
        let compander = Compander { a: a.shallow_clone(), b: b.shallow_clone() };
        let gradients =
            Tensor::run_backward(&[(compander.psi(&v) * &g).sum(Kind::Double)], &[&v, &a, &b], false, false);
        let (a4, b4, v, dims) =
            (a.detach().view([3, 1, 1, 1]), b.detach().view([3, 1, 1, 1]), v.detach(), [1i64, 2, 3]);
        let denominator = &b4 * &b4 + &v * &v;
        let filter_sum = |t: Tensor| t.sum_dim_intlist(&dims[..], false, Kind::Double);
        assert!(largest(&(&gradients[0] - &g * compander.slope(&v))) < 1e-12);
        assert!(largest(&(&gradients[1] - filter_sum(&g * (&v / &b4).atan()))) < 1e-12);
        assert!(largest(&(&gradients[2] + filter_sum(&g * &a4 * &v / denominator))) < 1e-12);
    }

    #[test]
    fn the_initial_net_is_the_plain_net_but_for_the_clipped_weights() {
        let sigma = Tensor::from(0.1f32);
        let w0 = normal(&[200, 50], Kind::Float) * 0.1;
        let compander = Compander::from_sigma(&sigma, 2.0, 1.3);
        let inverse = compander.inverse(&w0, 0.98);
        assert!(largest(&(compander.psi(&inverse.v) - &inverse.w)) < 1e-6);
        assert!(largest(&inverse.w) < 0.98 * 0.2 + 1e-6);
        let same = inverse.w.eq_tensor(&w0).to_kind(Kind::Float).mean(Kind::Float);
        assert!((f64::try_from(same).unwrap() - 0.95).abs() < 0.01); // |x| < 1.96 sigma
    }

    #[test]
    fn per_filter_numbers_invert_each_filter_with_its_own() {
        let compander = Compander { a: Tensor::from_slice(&[1.0, 0.1]), b: Tensor::from_slice(&[0.5, 0.2]) };
        let w = Tensor::from_slice(&[0.9, -0.2, 0.9, -0.2]).view([2, 2]);
        let inverse = compander.inverse(&w, 0.5);
        assert!(largest(&(compander.psi(&inverse.v) - &inverse.w)) < 1e-12);
        let expected = Tensor::from_slice(&[PI / 4.0, -0.2, PI / 40.0, -PI / 40.0]).view([2, 2]);
        assert!(largest(&(inverse.w - expected)) < 1e-12);
    }

    #[test]
    fn a_saturated_float32_weight_stays_bounded_and_its_gradient_finite() {
        let compander = Compander::from_bound(&Tensor::from(1f32), 1.0);
        let v = Tensor::from_slice(&[1e30f32, -1e6, 0.0]).set_requires_grad(true);
        let w = compander.psi(&v);
        assert_eq!(w.kind(), Kind::Float);
        let gradient = Tensor::run_backward(&[w.sum(Kind::Float)], &[&v], false, false).remove(0);
        assert!(largest(&w) <= 1.0 + 1e-6);
        assert!(gradient.isfinite().all().double_value(&[]) == 1.0);
        assert!((gradient.double_value(&[2]) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_float64_scale_does_not_change_the_type_of_the_weight() {
        let compander = Compander { a: Tensor::from_slice(&[1.0, 2.0]), b: Tensor::from_slice(&[1.0, 2.0]) };
        assert_eq!(compander.psi(&normal(&[2, 3], Kind::Float)).kind(), Kind::Float);
    }

    #[test]
    fn decay_on_w_is_the_gradient_of_half_its_square() {
        let compander = Compander::from_bound(&Tensor::from(0.7), 1.2);
        let v = normal(&[20], Kind::Double).set_requires_grad(true);
        let w = compander.psi(&v);
        let gradient = Tensor::run_backward(&[(&w * &w).sum(Kind::Double) * 0.5], &[&v], false, false).remove(0);
        assert!(largest(&(gradient - w.detach() * compander.slope(&v))) < 1e-12);
    }

    #[test]
    fn learned_numbers_stay_positive_and_receive_gradients() {
        let log_a = Tensor::from(-0.5).set_requires_grad(true);
        let log_b = Tensor::from(-1.5).set_requires_grad(true);
        let compander = Compander::from_logs(&log_a, &log_b);
        let v = normal(&[9], Kind::Double).abs();
        let loss = compander.psi(&v).sum(Kind::Double);
        let gradients = Tensor::run_backward(&[&loss], &[&log_a, &log_b], false, false);
        // dL/dalpha = a dL/da = sum w, dL/dbeta = b dL/db = - sum v dw/dv
        assert!((gradients[0].double_value(&[]) - loss.double_value(&[])).abs() < 1e-12);
        let expected = (&v * compander.slope(&v)).sum(Kind::Double).double_value(&[]);
        assert!((gradients[1].double_value(&[]) + expected).abs() < 1e-12);
    }

    #[test]
    fn the_bound_of_a_checkpoint_clips_nothing() {
        let w = normal(&[64], Kind::Float);
        let compander = Compander::from_bound(&checkpoint_bound(&w), 1.0);
        assert_eq!(compander.inverse(&w, 0.98).w, w);
    }
}
