//! The quadratic pull of regularization-based continual learning: strength * sum_p importance_p (theta_p - anchor_p)^2,
//! without a factor 1/2. The importance is the Fisher information (EWC), the path integral (SI) or 1 (L2 anchor).

use tch::Tensor;

/// The penalty, 0-d. All tensors have one shape; the gradient flows to `theta`.
pub fn quadratic_penalty(theta: &Tensor, anchor: &Tensor, importance: &Tensor, strength: f64) -> Tensor {
    (importance * (theta - anchor).square()).sum(theta.kind()) * strength
}

/// Its gradient with respect to `theta`: 2 strength importance (theta - anchor).
pub fn quadratic_penalty_grad(theta: &Tensor, anchor: &Tensor, importance: &Tensor, strength: f64) -> Tensor {
    importance * (theta - anchor) * (2.0 * strength)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn the_gradient_is_that_of_the_penalty_and_vanishes_at_the_anchor() {
        let options = (Kind::Double, tch::Device::Cpu);
        let theta = Tensor::randn([7], options).set_requires_grad(true);
        let (anchor, importance) = (Tensor::randn([7], options), Tensor::rand([7], options));
        let penalty = quadratic_penalty(&theta, &anchor, &importance, 3.0);
        let auto = Tensor::run_backward(&[penalty], &[&theta], false, false).remove(0);
        assert!(auto.allclose(&quadratic_penalty_grad(&theta, &anchor, &importance, 3.0), 1e-12, 1e-12, false));
        assert_eq!(quadratic_penalty(&anchor, &anchor, &importance, 3.0).double_value(&[]), 0.0);
    }
}
