//! What the compander is compared with: other reparameterizations w(v), and the plain bound. All run on the device of their
//! arguments; `bound` is a number a layer (0-d) or a filter (`[O]`).

use tch::Tensor;

use super::psi::{Inverse, clamp, per_filter};

/// w = B tanh(v / b'), b' = B / kappa, so that kappa = `slope` > 0 is the slope at zero.
pub fn tanh(v: &Tensor, bound: &Tensor, slope: f64) -> Tensor {
    let bound = per_filter(bound, v);
    (v * slope / &bound).tanh() * bound
}

/// v = b' atanh(w / B) after w is clipped to |w| <= clip B, 0 < clip < 1, and the clipped w.
pub fn tanh_inverse(w: &Tensor, bound: &Tensor, slope: f64, clip: f64) -> Inverse {
    tch::no_grad(|| {
        let w = clamp(w, &(bound * clip));
        let bound = per_filter(bound, &w);
        Inverse { v: (&w / &bound).atanh() * bound / slope, w }
    })
}

/// Power-propagation (Schwarz et al., NeurIPS 2021): w = v |v|^(alpha-1), alpha >= 1; 1 is the plain net. The opposite of the
/// compander: small weights are drawn to zero.
pub fn powerprop(v: &Tensor, alpha: f64) -> Tensor {
    if alpha == 1.0 {
        return v.shallow_clone();
    }
    // sign(v) |v|^alpha: the same function, with the right gradient, 0, at v = 0, where that of |v|^(alpha-1) is infinite.
    v.sign() * v.abs().pow_tensor_scalar(alpha)
}

/// v = sign(w) |w|^(1/alpha): the net starts as the plain one.
pub fn powerprop_inverse(w: &Tensor, alpha: f64) -> Tensor {
    tch::no_grad(|| w.sign() * w.abs().pow_tensor_scalar(1.0 / alpha))
}

/// w <- clamp(w, -B, B) in place, after each step: bounded, but not companded.
pub fn clip_to_bound(w: &Tensor, bound: &Tensor) {
    tch::no_grad(|| w.detach().copy_(&clamp(w, bound)));
}

/// Weight normalization (Salimans and Kingma, NeurIPS 2016): w = g v / ||v||, the norm over each filter (all dimensions but
/// the first), g `[O]`.
pub fn weight_norm(v: &Tensor, g: &Tensor) -> Tensor {
    v * per_filter(&(g / filter_norm(v)), v)
}

/// g = ||w|| of each filter, so that v = w starts as the plain net.
pub fn weight_norm_scale(w: &Tensor) -> Tensor {
    tch::no_grad(|| filter_norm(w))
}

/// `[O]`, never zero: a filter of zeros must not divide by zero.
fn filter_norm(v: &Tensor) -> Tensor {
    let smallest = f64::from(f32::MIN_POSITIVE);
    v.flatten(1, -1).norm_scalaropt_dim(2, [1i64], false).clamp_min(smallest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn normal(shape: &[i64]) -> Tensor {
        tch::manual_seed(9);
        Tensor::randn(shape, (Kind::Double, Device::Cpu))
    }

    fn largest(tensor: &Tensor) -> f64 {
        f64::try_from(tensor.abs().max()).unwrap()
    }

    #[test]
    fn tanh_inverts_keeps_the_bound_and_has_the_slope_asked_for() {
        let (w, bound) = (normal(&[4, 5]), Tensor::from_slice(&[0.5, 1.0, 2.0, 4.0]));
        let inverse = tanh_inverse(&w, &bound, 1.5, 0.98);
        assert!(largest(&(tanh(&inverse.v, &bound, 1.5) - &inverse.w)) < 1e-12);
        assert!(largest(&inverse.w.get(0)) <= 0.49 + 1e-12);
        let zero = Tensor::from(0.0).set_requires_grad(true);
        let slope = Tensor::run_backward(&[tanh(&zero, &Tensor::from(0.7), 1.5)], &[&zero], false, false).remove(0);
        assert!((slope.double_value(&[]) - 1.5).abs() < 1e-12);
    }

    #[test]
    fn powerprop_has_gradient_zero_at_zero_and_alpha_one_is_the_plain_net() {
        let gradient = |alpha| {
            let v = Tensor::from_slice(&[0.0, -4.0]).set_requires_grad(true);
            let w = powerprop(&v, alpha).sum(Kind::Double);
            Vec::<f64>::try_from(Tensor::run_backward(&[w], &[&v], false, false).remove(0)).unwrap()
        };
        assert_eq!(gradient(1.5), [0.0, 3.0]);
        assert_eq!(gradient(1.0), [1.0, 1.0]);
    }

    #[test]
    fn powerprop_inverts() {
        let w = normal(&[30]);
        assert!(largest(&(powerprop(&powerprop_inverse(&w, 2.5), 2.5) - w)) < 1e-12);
    }

    #[test]
    fn clipping_acts_in_place_and_only_beyond_the_bound() {
        let w = Tensor::from_slice(&[0.3, -2.0, 1.0]).set_requires_grad(true);
        clip_to_bound(&w, &Tensor::from(0.5));
        assert_eq!(Vec::<f64>::try_from(w.detach()).unwrap(), [0.3, -0.5, 0.5]);
        assert!(w.requires_grad());
    }

    #[test]
    fn weight_norm_starts_as_the_plain_net_and_survives_a_filter_of_zeros() {
        let w = normal(&[3, 2, 2, 2]);
        let _ = w.get(1).zero_();
        assert!(largest(&(weight_norm(&w, &weight_norm_scale(&w)) - &w)) < 1e-12);
        let v = w.copy().set_requires_grad(true);
        let scaled = weight_norm(&(&v * 7.0), &weight_norm_scale(&w));
        assert!(largest(&(&scaled - &w)) < 1e-12);
        let gradient = Tensor::run_backward(&[scaled.sum(Kind::Double)], &[&v], false, false).remove(0);
        assert!(gradient.isfinite().all().double_value(&[]) == 1.0);
    }
}
