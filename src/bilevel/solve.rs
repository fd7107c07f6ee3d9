//! The lower solve: strongly convex accelerated gradient with a certificate of its distance to the solution.

use tch::Tensor;

use super::{Curvature, norm};

/// How the iterate before the gradient step is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Momentum {
    /// FISTA for strongly convex functions.
    Accelerated,
    /// None: plain gradient descent (what the published code effectively runs).
    Off,
}

/// Where the lower solve stopped.
pub struct Solution {
    pub x: Tensor,
    /// Gradients of h that were evaluated.
    pub gradients: usize,
    /// ||grad h(z)||/mu at the last point z a gradient was taken at: no less than ||x - x^||. NaN or infinite if h is not
    /// finite there.
    pub certificate: f64,
}

/// Minimises h(., theta) from `x0` until ||grad h(z)||/mu <= `eps` at the point z of the last gradient, or `max_gradients`:
///
/// t' = (1 - q t^2 + sqrt((1 - q t^2)^2 + 4 t^2))/2, beta = (t-1)(1 - t' q)/(t'(1-q)), z = x + beta (x - x_prev),
/// x = z - tau grad h(z); tau = 1/L, q = mu/L, t_0 = 0, x_prev = x_0; beta = 0 if 1-q <= 1e-12.
///
/// The step with tau <= 1/L does not increase the distance to x^, so the certificate taken at z holds for the returned x too.
pub fn accelerated_gradient(
    grad: impl Fn(&Tensor) -> Tensor,
    x0: &Tensor,
    curvature: Curvature,
    eps: f64,
    max_gradients: usize,
    momentum: Momentum,
) -> Solution {
    let tau = 1.0 / curvature.l;
    let q = tau * curvature.mu;
    let (mut x_prev, mut x) = (x0.shallow_clone(), x0.shallow_clone());
    let mut t: f64 = 0.0;
    let (mut gradients, mut certificate) = (0, f64::INFINITY);
    while gradients < max_gradients {
        let z = match momentum {
            Momentum::Off => x.shallow_clone(),
            Momentum::Accelerated => {
                let shrink = 1.0 - q * t * t;
                let t_next = (shrink + (shrink * shrink + 4.0 * t * t).sqrt()) / 2.0;
                let beta = if 1.0 - q <= 1e-12 { 0.0 } else { (t - 1.0) * (1.0 - t_next * q) / (t_next * (1.0 - q)) };
                t = t_next;
                &x + (&x - &x_prev) * beta
            }
        };
        let p = grad(&z);
        gradients += 1;
        x_prev = x;
        x = z - &p * tau;
        certificate = norm(&p) / curvature.mu;
        if certificate <= eps || !certificate.is_finite() {
            break;
        }
    }
    Solution { x, gradients, certificate }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(momentum: Momentum, eps: f64, cap: usize) -> Solution {
        let d = Tensor::from_slice(&[1.0, 1000.0]);
        let x0 = Tensor::from_slice(&[1.0, 1.0]);
        accelerated_gradient(|x| x * &d, &x0, Curvature { mu: 1.0, l: 1000.0 }, eps, cap, momentum)
    }

    #[test]
    fn the_certificate_bounds_the_distance_and_momentum_pays() {
        let (fast, slow) = (solve(Momentum::Accelerated, 1e-6, 100_000), solve(Momentum::Off, 1e-6, 100_000));
        for solution in [&fast, &slow] {
            assert!(norm(&solution.x) <= solution.certificate && solution.certificate <= 1e-6);
        }
        assert!(10 * fast.gradients < slow.gradients, "{} {}", fast.gradients, slow.gradients);
    }

    #[test]
    fn the_cap_is_reported_by_the_certificate() {
        let capped = solve(Momentum::Accelerated, 1e-6, 3);
        assert_eq!(capped.gradients, 3);
        assert!(capped.certificate > 1e-6);
    }

    #[test]
    fn a_gradient_that_is_not_finite_ends_the_solve() {
        let x0 = Tensor::from_slice(&[1.0]);
        let curvature = Curvature { mu: 1.0, l: 1.0 };
        let solution = accelerated_gradient(|x| x * f64::NAN, &x0, curvature, 1.0, 100, Momentum::Accelerated);
        assert_eq!(solution.gradients, 1);
        assert!(solution.certificate.is_nan());
    }
}
