//! Problem `quadratic`: h = 1/2 ||A2 x + A3 theta - b2||^2, g = 1/2 ||A1 x - b1||^2. All constants are known.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use crate::bilevel::{Constants, Curvature, Lower, Products, Upper};

/// Largest eigenvalue of a symmetric matrix, and the smallest.
fn eigenvalue_range(symmetric: &Tensor) -> (f64, f64) {
    let eigenvalues = symmetric.linalg_eigvalsh("L");
    (eigenvalues.max().double_value(&[]), eigenvalues.min().double_value(&[]))
}

/// The spectral norm.
fn spectral_norm(matrix: &Tensor) -> f64 {
    eigenvalue_range(&matrix.tr().matmul(matrix)).0.max(0.0).sqrt()
}

/// h. H = A2^T A2 and B = A2^T A3 do not depend on x: L_Ainv = L_B = 0.
pub struct QuadraticLower {
    a2: Tensor,
    a3: Tensor,
    b2: Tensor,
    hessian: Tensor,
    mixed: Tensor,
    curvature: Curvature,
    constants: Constants,
}

impl QuadraticLower {
    /// A2 [n,d], A3 [n,p], b2 [n].
    pub fn new(a2: &Tensor, a3: &Tensor, b2: &Tensor) -> QuadraticLower {
        let (hessian, mixed) = (a2.tr().matmul(a2), a2.tr().matmul(a3));
        let (l, mu) = eigenvalue_range(&hessian);
        let constants = Constants { jac_norm: spectral_norm(&mixed), l_ainv: 0.0, l_b: 0.0 };
        let [a2, a3, b2] = [a2, a3, b2].map(Tensor::shallow_clone);
        QuadraticLower { a2, a3, b2, hessian, mixed, curvature: Curvature { mu, l }, constants }
    }

    fn residual(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        self.a2.mv(x) + self.a3.mv(theta) - &self.b2
    }
}

impl Lower for QuadraticLower {
    fn value(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        self.residual(x, theta).square().sum(Kind::Double) * 0.5
    }

    fn grad_x(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        self.a2.tr().mv(&self.residual(x, theta))
    }

    fn grad_theta(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        self.a3.tr().mv(&self.residual(x, theta))
    }

    fn products<'a>(&'a self, _x: &Tensor, _theta: &Tensor) -> Box<dyn Products + 'a> {
        Box::new(QuadraticProducts(self))
    }

    fn curvature(&self, _theta: &Tensor) -> Result<Curvature> {
        let Curvature { mu, l } = self.curvature;
        // Rounding leaves about l * 1e-16 where A2 has dependent columns.
        ensure!(mu > 1e-14 * l, "lower level not strongly convex (mu={mu:e}): the columns of A2 are dependent");
        Ok(self.curvature)
    }

    fn constants(&self) -> Option<Constants> {
        Some(self.constants)
    }
}

struct QuadraticProducts<'a>(&'a QuadraticLower);

impl Products for QuadraticProducts<'_> {
    fn hessian(&self, v: &Tensor) -> Tensor {
        self.0.hessian.mv(v)
    }

    fn mixed_transposed(&self, q: &Tensor) -> Tensor {
        self.0.mixed.tr().mv(q)
    }

    fn mixed(&self, u: &Tensor) -> Tensor {
        self.0.mixed.mv(u)
    }
}

/// g = 1/2 ||A1 x - b1||^2.
pub struct QuadraticUpper {
    a1: Tensor,
    b1: Tensor,
    smoothness: f64,
}

impl QuadraticUpper {
    /// A1 [n,d], b1 [n].
    pub fn new(a1: &Tensor, b1: &Tensor) -> QuadraticUpper {
        let smoothness = eigenvalue_range(&a1.tr().matmul(a1)).0;
        QuadraticUpper { a1: a1.shallow_clone(), b1: b1.shallow_clone(), smoothness }
    }
}

impl Upper for QuadraticUpper {
    fn value_and_grad(&self, x: &Tensor) -> (Tensor, Tensor) {
        let residual = self.a1.mv(x) - &self.b1;
        (residual.square().sum(Kind::Double) * 0.5, self.a1.tr().mv(&residual))
    }

    fn smoothness(&self) -> f64 {
        self.smoothness
    }
}

/// f in closed form: x^(theta) = H^-1 A2^T (b2 - A3 theta) is affine in theta, so f(theta) = 1/2 ||S theta - o||^2.
pub struct Exact {
    slope: Tensor,
    offset: Tensor,
    optimum: f64,
}

impl Exact {
    /// A1 [n,d], A2 [n,d], A3 [n,p], b1 [n], b2 [n].
    pub fn new([a1, a2, a3]: [&Tensor; 3], [b1, b2]: [&Tensor; 2]) -> Exact {
        let hessian = a2.tr().matmul(a2);
        let solve = |rhs: &Tensor| Tensor::linalg_solve(&hessian, rhs, true);
        let (slope, offset) = (a1.matmul(&solve(&a2.tr().matmul(a3))), a1.mv(&solve(&a2.tr().mv(b2))) - b1);
        let theta = Tensor::linalg_solve(&slope.tr().matmul(&slope), &slope.tr().mv(&offset), true);
        let mut exact = Exact { slope, offset, optimum: 0.0 };
        exact.optimum = exact.gap(&theta);
        exact
    }

    /// f(theta) - min f.
    pub fn gap(&self, theta: &Tensor) -> f64 {
        (&self.offset - self.slope.mv(theta)).square().sum(Kind::Double).double_value(&[]) * 0.5 - self.optimum
    }
}

/// A [n,d] with its singular values replaced: from the largest down in equal ratios, so that A^T A has this condition number.
pub fn conditioned(a: &Tensor, condition: f64) -> Tensor {
    let (u, s, v) = a.svd(true, true);
    let last = (s.numel() as i64 - 1).max(1) as f64;
    let place = Tensor::arange(s.numel() as i64, (Kind::Double, s.device())) / last;
    let values = s.max() * (place * (-0.5 * condition.ln())).exp();
    (u * values).matmul(&v.tr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_number_is_what_was_asked_for() {
        tch::manual_seed(1);
        let a = conditioned(&Tensor::rand([40, 5], tch::kind::DOUBLE_CPU), 30.0);
        let (largest, smallest) = eigenvalue_range(&a.tr().matmul(&a));
        assert!((largest / smallest - 30.0).abs() < 1e-9, "{largest} {smallest}");
    }
}
