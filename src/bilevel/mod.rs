//! Bilevel optimization: min over theta of f(theta) = g(x^(theta)), x^(theta) = argmin_x h(x, theta), with its derivatives.
//!
//! h, g are given by [`Lower`] and [`Upper`]; the inner problem is solved by [`accelerated_gradient`] with a certificate of its
//! distance to x^; the hypergradient z = -B^T q, H q = grad g(x), comes from [`conjugate_gradients`] on products with
//! H = d2h/dx2 and B = d2h/dx dtheta. All arithmetic is float64. x and theta may have any shape; norms and inner products run
//! over all entries.
//!
//! The tests of the iterations need one number on the host per iteration (the norm that decides whether to stop): that is
//! the algorithm, not bookkeeping.

mod autograd;
mod conjugate;
mod hypergradient;
mod power;
mod problem;
mod solve;
mod work;

pub use autograd::{AutogradProducts, gradients};
pub use conjugate::{Conjugate, conjugate_gradients};
pub use hypergradient::{Hypergradient, hypergradient};
pub use power::largest_eigenvalue;
pub use problem::{Bilevel, Constants, Curvature, Lower, Products, Upper};
pub use solve::{Momentum, Solution, accelerated_gradient};
pub use work::Work;

use tch::{Kind, Tensor};

/// <a, b> over all entries, on the device (0-d).
pub fn inner(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum(Kind::Double)
}

/// ||a|| over all entries, on the host.
pub fn norm(a: &Tensor) -> f64 {
    a.norm().double_value(&[])
}
