//! How wrong an inexact hypergradient can be, and the descent test built on it.

use crate::bilevel::Constants;

/// What the bound is made of besides the problem's constants.
#[derive(Clone, Copy, Debug)]
pub struct Accuracy {
    /// ||x - x^|| <= eps.
    pub eps: f64,
    /// ||H q - grad g|| <= delta.
    pub delta: f64,
}

/// The bound ||z - grad f|| <= omega.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorBound {
    pub c: f64,
    pub omega: f64,
}

/// Ehrhardt & Roberts, "Analyzing inexact hypergradients for bilevel learning":
///   c = L_g ||B||/mu + L_Ainv ||grad g(x)|| ||B|| + L_B ||grad g(x)||/mu
///   omega = c eps + (||B||/mu) delta + (L_B L_g/mu) eps^2.
pub fn error_bound(grad_g_norm: f64, mu: f64, l_g: f64, constants: Constants, accuracy: Accuracy) -> ErrorBound {
    let Constants { jac_norm, l_ainv, l_b } = constants;
    let Accuracy { eps, delta } = accuracy;
    let c = l_g * jac_norm / mu + l_ainv * grad_g_norm * jac_norm + l_b * grad_g_norm / mu;
    ErrorBound { c, omega: c * eps + jac_norm / mu * delta + l_b * l_g / mu * eps * eps }
}

/// omega <= (1-eta) ||z||: -z is a descent direction of f.
pub fn is_descent(omega: f64, z_norm: f64, eta: f64) -> bool {
    omega <= (1.0 - eta) * z_norm
}
