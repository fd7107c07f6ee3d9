//! Mixing pairs of samples and their labels (mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018).
//! Everything stays on the device: weights are tensors, nothing is read back.

use tch::{Device, Kind, Tensor};

/// l x1 + (1-l) x2 for floating-point `x1`, `x2` of one shape; `l` is 0-d, or `[B]` with one weight a sample (the first dimension).
/// Gradients reach all three.
pub fn mix(x1: &Tensor, x2: &Tensor, l: &Tensor) -> Tensor {
    let mut shape = vec![1; x1.dim() - l.dim()];
    shape.splice(0..0, l.size());
    x2.lerp_tensor(x1, &l.to_device(x1.device()).to_kind(x1.kind()).view(shape.as_slice()))
}

/// One weight l = max(d, 1-d) (0-d, float32, in [1/2, 1]) from a draw d: the first sample of a pair keeps the larger share.
pub fn larger_share(draw: &Tensor) -> Tensor {
    draw.maximum(&(1.0 - draw))
}

/// A draw from Beta(alpha, alpha), alpha > 0 (0-d, float32), from the device's generator.
pub fn beta_draw(alpha: f64, device: Device) -> Tensor {
    beta_draws(alpha, 1, device).select(0, 0)
}

/// `n` independent draws from Beta(alpha, alpha), `[n]`.
pub fn beta_draws(alpha: f64, n: i64, device: Device) -> Tensor {
    // The first of two Dirichlet coordinates is Beta distributed.
    Tensor::full([n, 2], alpha, (Kind::Float, device)).internal_sample_dirichlet().select(1, 0)
}

/// Rows of 0 and 1 `[.., classes]` of type `kind` for int64 labels `[..]` in 0..classes.
pub fn one_hot(labels: &Tensor, classes: i64, kind: Kind) -> Tensor {
    let shape = [labels.size(), vec![classes]].concat();
    Tensor::zeros(shape, (kind, labels.device())).scatter_value_(-1, &labels.unsqueeze(-1), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double).reshape(-1)).unwrap()
    }

    #[test]
    fn weights_per_sample_reach_every_dimension_and_pass_gradients() {
        let x1 = Tensor::ones([2, 1, 2], (Kind::Double, Device::Cpu));
        let l = Tensor::from_slice(&[0.75, 0.25]).set_requires_grad(true);
        let mixed = mix(&x1, &(&x1 * 3.0), &l);
        assert_eq!(values(&mixed), [1.5, 1.5, 2.5, 2.5]);
        let gradient = Tensor::run_backward(&[mixed.sum(Kind::Double)], &[&l], false, false);
        assert_eq!(values(&gradient[0]), [-4.0, -4.0]); // d/dl = x1 - x2 over two values a sample
    }

    #[test]
    fn a_whole_share_returns_the_first_sample_exactly() {
        let x = Tensor::from_slice(&[0.1f32, -7.3]);
        assert_eq!(mix(&x, &(&x * 1e6), &Tensor::from(1f32)), x);
    }

    #[test]
    fn draws_have_the_mean_and_variance_of_the_beta_distribution() {
        tch::manual_seed(3);
        let alpha = 0.4;
        let draws: Vec<f64> = (0..4000).map(|_| f64::try_from(beta_draw(alpha, Device::Cpu)).unwrap()).collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean {mean}");
        assert!((variance - 0.25 / (2.0 * alpha + 1.0)).abs() < 0.01, "variance {variance}");
    }

    #[test]
    fn the_larger_share_is_never_below_one_half() {
        let draws = Tensor::from_slice(&[0.3, 0.9, 0.5, 0.0]);
        assert_eq!(values(&larger_share(&draws)), [0.7, 0.9, 0.5, 1.0]);
    }
}
