//! Estimated constants of the error bound, where the problem does not know them.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::bilevel::{Bilevel, Constants, Products, conjugate_gradients, largest_eigenvalue, norm};
use crate::rng;

const POWER_ITERATIONS: usize = 6;
/// Accuracy of the secant's linear solve, relative to its right-hand side.
const SECANT_TOLERANCE: f64 = 1e-2;

/// The point (x, theta) the constants are estimated at.
pub struct Point<'a> {
    pub x: &'a Tensor,
    pub theta: &'a Tensor,
    /// H and B there.
    pub products: &'a dyn Products,
    /// H q ~ grad g(x).
    pub q: &'a Tensor,
    pub grad_g_norm: f64,
}

/// Secants along a random unit direction s of length t = max(eps, 1e-4), x' = x + t s:
///   L_B ~ ||(B(x') - B(x))^T q||/(t ||q||),
///   L_Ainv ~ ||(H(x')^-1 - H(x)^-1) grad g||/(t ||grad g||), the difference as -H(x')^-1 (H(x') - H(x)) q so that the linear
///   solve's error does not enter divided by t;
/// ||B|| by a few power iterations on B^T B. Returns the constants and the Hessian products they took.
pub fn estimate(problem: &Bilevel, at: Point, eps: f64, cg_cap: usize, seed: u64) -> Result<(Constants, usize)> {
    tch::manual_seed(rng::mix(seed, "maid secant") as i64);
    let random = |like: &Tensor| Tensor::randn(like.size(), (Kind::Double, tch::Device::Cpu)).to_device(like.device());
    let gram = |u: &Tensor| at.products.mixed_transposed(&at.products.mixed(u));
    let jac_norm = largest_eigenvalue(gram, &random(at.theta), POWER_ITERATIONS).sqrt();

    let q_norm = norm(at.q);
    if q_norm == 0.0 {
        return Ok((Constants { jac_norm, ..Constants::default() }, 0));
    }
    let t = eps.max(1e-4);
    let s = random(at.x);
    let moved = at.x + &s * (t / norm(&s));
    let there = problem.lower.products(&moved, at.theta);
    let l_b = norm(&(there.mixed_transposed(at.q) - at.products.mixed_transposed(at.q))) / (t * q_norm);
    let change = there.hessian(at.q) - at.products.hessian(at.q);
    let tolerance = SECANT_TOLERANCE * norm(&change);
    let solved = conjugate_gradients(|v| there.hessian(v), &change, tolerance, cg_cap)?;
    let l_ainv = norm(&solved.q) / (t * at.grad_g_norm);
    Ok((Constants { jac_norm, l_ainv, l_b }, solved.iterations + 2))
}
