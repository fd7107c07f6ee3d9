//! The certified decrease: what an inexact x says about the exact f.

/// g at an inexact x: its value, ||grad g|| and eps >= ||x - x^||.
#[derive(Clone, Copy, Debug)]
pub struct Inexact {
    pub g: f64,
    pub grad_norm: f64,
    pub eps: f64,
}

impl Inexact {
    /// U(x, eps) = g + ||grad g|| eps + (L_g/2) eps^2 >= f.
    pub fn upper(&self, l_g: f64) -> f64 {
        self.g + self.grad_norm * self.eps + l_g / 2.0 * self.eps * self.eps
    }

    /// Lw(x, eps) = g - ||grad g|| eps - (L_g/2) eps^2 <= f; the last term falls away for a convex g.
    pub fn lower(&self, l_g: f64, convex: bool) -> f64 {
        let bend = if convex { 0.0 } else { l_g / 2.0 * self.eps * self.eps };
        self.g - self.grad_norm * self.eps - bend
    }
}

/// psi(a) = U(x+, eps+) - Lw(x, eps) + lambda a ||z||^2; psi <= 0 proves f(theta - a z) - f(theta) <= -lambda a ||z||^2.
pub fn psi(new: Inexact, old: Inexact, step: f64, z_norm: f64, lambda: f64, l_g: f64, convex: bool) -> f64 {
    new.upper(l_g) - old.lower(l_g, convex) + lambda * step * z_norm * z_norm
}

/// psi <= 0; a psi that is not a number accepts nothing.
pub fn accepts(psi: f64) -> bool {
    psi <= 0.0
}
