//! GS_k, its minimizing u, its subgradient and its conjugate, all on the m group norms.

use tch::{Kind, Tensor};

use super::search::{clip, threshold};
use super::topk;

/// z_j = sqrt(d_j) ||theta_j|| from squared norms.
pub fn scaled_norms(squared: &[f64], d: &[f64]) -> Vec<f64> {
    squared.iter().zip(d).map(|(square, d)| (d * square).sqrt()).collect()
}

/// The u that attains GS_k, u_j = min(1, eta z_j).
pub struct Minimizer {
    /// Infinite when at most k groups are non-zero, 0 when k = 0.
    pub eta: f64,
    /// `[m]`; zero groups have u = 0.
    pub u: Vec<f64>,
}

/// The minimizer for z `[m]`.
pub fn minimizer(z: &[f64], k: usize) -> Minimizer {
    let eta = threshold(z, &vec![0.0; z.len()], k);
    Minimizer { eta, u: z.iter().map(|&z| clip(eta, z, 0.0)).collect() }
}

/// GS_k = 1/2 sum_j z_j^2 / u_j = 1/2 sum_j z_j max(z_j, 1 / eta): half the squared norm of the r groups with u_j = 1, and
/// half the squared sum of the norms of the others over k - r. Infinite for k = 0 unless all z are 0.
pub fn value(z: &[f64], eta: f64) -> f64 {
    0.5 * z.iter().filter(|z| **z > 0.0).map(|z| z * z.max(1.0 / eta)).sum::<f64>()
}

/// d_j / u_j, by which theta_j is multiplied to give a subgradient; 0 for zero groups. For k = 0 GS_k has none at theta != 0,
/// and the factors are infinite.
pub fn gradient_factors(z: &[f64], u: &[f64], d: &[f64]) -> Vec<f64> {
    let factor = |((z, u), d): ((&f64, &f64), &f64)| if *z > 0.0 { d / u } else { 0.0 };
    z.iter().zip(u).zip(d).map(factor).collect()
}

/// gs_k*(y) = 1/2 (sum of the k largest ||y_j||^2 / d_j), from the group norms of y (`[m]`, float64) and d (`[m]`): the value
/// (0-d) and the factors 1/d_j on the chosen groups, 0 on the others, that make y a subgradient. Ties go to the lowest index.
pub fn conjugate(norms: &Tensor, d: &Tensor, k: usize) -> (Tensor, Tensor) {
    let v = norms / d.sqrt();
    let chosen = topk::largest(&v, k).to_kind(Kind::Double);
    let value = (v.square() * &chosen).sum(Kind::Double) * 0.5;
    (value, chosen / d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use rand::RngExt;

    fn random(n: usize, purpose: &str) -> Vec<f64> {
        let mut stream = rng::stream(11, purpose);
        (0..n).map(|_| stream.random_range(0.05..3.0)).collect()
    }

    #[test]
    fn one_group_is_the_group_lasso_and_all_groups_are_ridge() {
        let z = random(9, "z");
        let lasso = 0.5 * z.iter().sum::<f64>().powi(2);
        let ridge = 0.5 * z.iter().map(|z| z * z).sum::<f64>();
        assert!((value(&z, minimizer(&z, 1).eta) - lasso).abs() < 1e-12);
        assert_eq!(value(&z, minimizer(&z, 9).eta), ridge);
        assert!(value(&z, minimizer(&z, 4).eta) > ridge && value(&z, minimizer(&z, 4).eta) < lasso);
    }

    #[test]
    fn no_group_allowed() {
        assert_eq!(value(&[0.0, 0.0], minimizer(&[0.0, 0.0], 0).eta), 0.0);
        assert_eq!(value(&[0.0, 1.0], minimizer(&[0.0, 1.0], 0).eta), f64::INFINITY);
    }

    #[test]
    fn fenchel_equality_holds_at_a_subgradient() {
        // y = (d/u) theta: its group norms are (d_j / u_j) ||theta_j||, and <theta, y> = sum (d_j / u_j) ||theta_j||^2.
        let (norms, d) = (random(12, "norms"), random(12, "d"));
        let squared: Vec<f64> = norms.iter().map(|n| n * n).collect();
        let z = scaled_norms(&squared, &d);
        for k in 1..=12 {
            let Minimizer { eta, u } = minimizer(&z, k);
            let factors = gradient_factors(&z, &u, &d);
            let y: Vec<f64> = factors.iter().zip(&norms).map(|(f, n)| f * n).collect();
            let inner: f64 = y.iter().zip(&norms).map(|(y, n)| y * n).sum();
            let (conjugate, _) = conjugate(&Tensor::from_slice(&y), &Tensor::from_slice(&d), k);
            let gap = value(&z, eta) + conjugate.double_value(&[]) - inner;
            assert!(gap.abs() < 1e-12 * inner, "k = {k}: gap {gap}");
        }
    }

    #[test]
    fn the_subgradient_is_the_slope_of_the_value() {
        let (norms, d) = (random(8, "norms"), random(8, "d"));
        let at = |norms: &[f64]| {
            let squared: Vec<f64> = norms.iter().map(|n| n * n).collect();
            scaled_norms(&squared, &d)
        };
        let z = at(&norms);
        let factors = gradient_factors(&z, &minimizer(&z, 3).u, &d);
        for j in 0..8 {
            let moved = |step: f64| {
                let mut norms = norms.clone();
                norms[j] += step;
                let z = at(&norms);
                value(&z, minimizer(&z, 3).eta)
            };
            let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((slope - factors[j] * norms[j]).abs() < 1e-7 * slope.abs().max(1.0));
        }
    }
}
