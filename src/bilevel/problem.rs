//! What a bilevel problem must be able to say about itself.

use anyhow::Result;
use tch::Tensor;

/// Constants of h(., theta) at one theta: mu I <= d2h/dx2 <= L I.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curvature {
    pub mu: f64,
    pub l: f64,
}

/// Constants the bound on the hypergradient's error needs, where the problem knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Constants {
    /// ||B||, spectral norm.
    pub jac_norm: f64,
    /// Lipschitz constant in x of x -> H(x)^-1.
    pub l_ainv: f64,
    /// Lipschitz constant in x of x -> B(x).
    pub l_b: f64,
}

/// The lower level: h(x, theta), mu-strongly convex and L-smooth in x.
pub trait Lower {
    /// h, 0-d.
    fn value(&self, x: &Tensor, theta: &Tensor) -> Tensor;

    fn grad_x(&self, x: &Tensor, theta: &Tensor) -> Tensor;

    fn grad_theta(&self, x: &Tensor, theta: &Tensor) -> Tensor;

    /// Products with H and B at (x, theta); what they share is computed here, once.
    fn products<'a>(&'a self, x: &Tensor, theta: &Tensor) -> Box<dyn Products + 'a>;

    /// Errors where h is not strongly convex (or its smoothness is not finite) at `theta`.
    fn curvature(&self, theta: &Tensor) -> Result<Curvature>;

    /// Exact constants of the error bound, if known.
    fn constants(&self) -> Option<Constants> {
        None
    }
}

/// Products with the second derivatives of h at one point.
pub trait Products {
    /// H v, H = d2h/dx2; shaped as x.
    fn hessian(&self, v: &Tensor) -> Tensor;

    /// B^T q, B = d2h/dx dtheta; q shaped as x, the result as theta.
    fn mixed_transposed(&self, q: &Tensor) -> Tensor;

    /// B u; u shaped as theta, the result as x.
    fn mixed(&self, u: &Tensor) -> Tensor;
}

/// The upper level: g(x), with an L_g-Lipschitz gradient.
pub trait Upper {
    /// g (0-d) and grad g (shaped as x).
    fn value_and_grad(&self, x: &Tensor) -> (Tensor, Tensor);

    /// L_g.
    fn smoothness(&self) -> f64;
}

/// Both levels.
pub struct Bilevel {
    pub lower: Box<dyn Lower>,
    pub upper: Box<dyn Upper>,
}
