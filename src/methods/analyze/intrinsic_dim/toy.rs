//! The paper's toy problem: D values in K blocks of equal size, loss sum_k (sum of block k - k)^2, performance exp(-loss). Its
//! solutions have dimension D - K, so a random subspace of dimension K meets them with probability one: d_int100 = K.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

/// Sums of the blocks less 1..K along the last dimension of theta `[..., D]`.
fn misses(theta: &Tensor, groups: i64) -> Tensor {
    let size = *theta.size().last().unwrap_or(&0);
    let mut shape = theta.size();
    shape.pop();
    shape.extend([groups, size / groups]);
    let sums = theta.view(shape.as_slice()).sum_dim_intlist(&[-1i64][..], false, theta.kind());
    sums - Tensor::arange_start(1, groups + 1, (theta.kind(), theta.device()))
}

/// Refuses blocks that do not fill D values.
pub fn check(parameters: i64, groups: i64) -> Result<()> {
    let fits = groups > 0 && parameters > 0 && parameters % groups == 0;
    ensure!(fits, "{parameters} values do not fall into {groups} blocks of equal size");
    Ok(())
}

/// The loss of theta `[D]`.
pub fn loss(theta: &Tensor, groups: i64) -> Tensor {
    misses(theta, groups).square().sum(theta.kind())
}

/// The smallest loss in theta_0 + the span of `directions` `[d, D]` (float64), by least squares; below 1e-18 it is 0.
pub fn smallest_loss(directions: &Tensor, theta0: &Tensor, groups: i64) -> f64 {
    let zero = theta0.zeros_like();
    let a = (misses(directions, groups) - misses(&zero, groups)).tr();
    let r = misses(theta0, groups);
    let t = a.pinverse(1e-13).mv(&r);
    let left = (r - a.mv(&t)).square().sum(Kind::Double).double_value(&[]);
    if left < 1e-18 { 0.0 } else { left }
}

/// A smallest loss below this is a solution.
pub const SOLVED: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn as_many_directions_as_blocks_are_needed_and_enough() {
        tch::manual_seed(1);
        let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
        let theta0 = random(&[60]);
        assert!(smallest_loss(&random(&[6, 60]), &theta0, 6) < SOLVED);
        assert!(smallest_loss(&random(&[5, 60]), &theta0, 6) > 1e-3);
    }

    #[test]
    fn the_loss_is_zero_where_each_block_sums_to_its_number() {
        let theta = Tensor::from_slice(&[0.5, 0.5, 3.0, -1.0]);
        assert_eq!(loss(&theta, 2).double_value(&[]), 0.0);
        assert!(check(10, 3).is_err());
    }
}
