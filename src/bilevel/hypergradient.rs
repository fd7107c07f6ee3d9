//! The inexact hypergradient by implicit differentiation.

use anyhow::Result;
use tch::Tensor;

use super::{Products, conjugate_gradients};

/// z = -B^T q and the linear solve behind it.
pub struct Hypergradient {
    pub q: Tensor,
    pub z: Tensor,
    /// Products with H.
    pub iterations: usize,
    /// ||H q - grad g||, by the recursion of conjugate gradients.
    pub residual: f64,
}

/// Solves ||H q - grad g(x)|| <= `delta` by conjugate gradients from q = 0 (at most `max_iterations` products); z = -B^T q.
pub fn hypergradient(
    products: &dyn Products,
    grad_g: &Tensor,
    delta: f64,
    max_iterations: usize,
) -> Result<Hypergradient> {
    let solved = conjugate_gradients(|v| products.hessian(v), grad_g, delta, max_iterations)?;
    let z = -products.mixed_transposed(&solved.q);
    Ok(Hypergradient { z, q: solved.q, iterations: solved.iterations, residual: solved.residual })
}
