//! Synaptic intelligence (Zenke, Poole, Ganguli 2017): how much each weight's path has lowered the loss is its
//! importance. Penalty c sum Omega (theta - theta*)^2 with theta* the weights after the last task
//! ([`crate::continual::anchor`]).

use tch::Tensor;

/// w += -g dtheta, in place and at every step: `grad` of the task loss alone, `step` what the optimizer really changed.
pub fn follow(path: &mut Tensor, grad: &Tensor, step: &Tensor) {
    *path -= grad * step;
}

/// Omega + max(0, w / ((theta - theta_start)^2 + xi)) at the end of a task; `moved` = theta - theta_start. The path
/// then starts anew at 0.
pub fn consolidate(omega: &Tensor, path: &Tensor, moved: &Tensor, xi: f64) -> Tensor {
    omega + (path / (moved.square() + xi)).clamp_min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_quadratic_the_path_is_the_fall_of_the_loss() {
        // Loss theta^2 / 2, many small steps from 1 to 0.5: w is about 1/2 - 1/8.
        let (mut path, mut theta) = (Tensor::from_slice(&[0.0]), Tensor::from_slice(&[1.0]));
        for _ in 0..1000 {
            let step = Tensor::from_slice(&[-0.0005]);
            follow(&mut path, &theta, &step);
            theta += &step;
        }
        assert!((path.double_value(&[0]) - 0.375).abs() < 1e-3);
        let omega = consolidate(&path.zeros_like(), &path, &(&theta - 1.0), 0.25);
        assert!((omega.double_value(&[0]) - path.double_value(&[0]) / 0.5).abs() < 1e-9);
        assert_eq!(consolidate(&omega, &-path, &(theta - 1.0), 0.25), omega, "harm is no importance");
    }
}
