//! The half-space step of HSPG (Chen et al. 2021): after x moved to the trial point t, a group stays only when t lies in
//! the half-space around x, t_g . x_g >= eps ||x_g||^2; zero groups stay zero.

use tch::Tensor;

/// Flags of the groups that stay, from t_g . x_g and ||x_g||^2 (both `[m]`). A trial point that is not a number is dropped.
pub fn stays(dots: &Tensor, squared: &Tensor, eps: f64) -> Tensor {
    dots.ge_tensor(&(squared * eps)).logical_and(&squared.gt(0.0))
}
