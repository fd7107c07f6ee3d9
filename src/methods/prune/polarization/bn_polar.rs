//! The rival of Zhuang et al. 2020: polarized normalization scales.

use tch::{Kind, Tensor};

/// R(gamma) = t ||gamma||_1 - ||gamma - mean(gamma) 1||_1.
pub fn value(gamma: &Tensor, t: f64) -> Tensor {
    let kind = gamma.kind();
    gamma.abs().sum(kind) * t - (gamma - gamma.mean(kind)).abs().sum(kind)
}

/// Its gradient, through the mean: t sign(gamma_i) - [sign(gamma_i - m) - mean_j sign(gamma_j - m)], with sign(0) = 0.
pub fn gradient(gamma: &Tensor, t: f64) -> Tensor {
    let side = (gamma - gamma.mean(gamma.kind())).sign();
    gamma.sign() * t - (&side - side.mean(None::<Kind>))
}

/// Where the scales are cut: the middle of the largest gap between neighbours in size. What lies below goes.
pub fn gap(gammas: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = gammas.iter().map(|g| g.abs()).collect();
    sorted.sort_by(f64::total_cmp);
    let widest = sorted.windows(2).max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])));
    widest.map_or(0.0, |pair| (pair[0] + pair[1]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope() {
        let gamma = Tensor::from_slice(&[0.9, -0.1, 0.4, 1.3]);
        let leaf = gamma.copy().set_requires_grad(true);
        let slope = Tensor::run_backward(&[value(&leaf, 1.2)], &[&leaf], false, false).remove(0);
        assert!(gradient(&gamma, 1.2).allclose(&slope, 1e-12, 1e-12, false));
    }

    #[test]
    fn the_cut_is_in_the_largest_gap() {
        assert_eq!(gap(&[1.0, 0.1, -0.2, 0.8]), 0.5);
        assert_eq!(gap(&[]), 0.0);
    }
}
