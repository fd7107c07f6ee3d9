//! prox_{lambda GS_k}(y) = argmin_theta lambda GS_k(theta) + 1/2 ||theta - y||^2, on the m group norms of y.

use super::search::{clip, threshold};

/// u_j = clip(eta z_j - lambda d_j, 0, 1) for z_j = sqrt(d_j) ||y_j|| and `shrink` = lambda d, all `[m]`. Zero groups have u = 0.
pub fn occupancy(z: &[f64], shrink: &[f64], k: usize) -> Vec<f64> {
    let eta = threshold(z, shrink, k);
    z.iter().zip(shrink).map(|(&z, &shrink)| clip(eta, z, shrink)).collect()
}

/// u_j / (u_j + lambda d_j), 0 where u_j = 0: theta_j = factor_j y_j.
pub fn factor(u: f64, shrink: f64) -> f64 {
    if u > 0.0 { u / (u + shrink) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::{minimizer, scaled_norms, value};
    use super::*;
    use proptest::prelude::*;

    /// The norms of prox(y) for groups with norms `y`: within a group only the length changes.
    fn prox(y: &[f64], d: &[f64], lambda: f64, k: usize) -> Vec<f64> {
        let squared: Vec<f64> = y.iter().map(|y| y * y).collect();
        let shrink: Vec<f64> = d.iter().map(|d| lambda * d).collect();
        let u = occupancy(&scaled_norms(&squared, d), &shrink, k);
        y.iter().zip(u.iter().zip(&shrink)).map(|(y, (&u, &s))| factor(u, s) * y).collect()
    }

    fn objective(theta: &[f64], y: &[f64], d: &[f64], lambda: f64, k: usize) -> f64 {
        let z: Vec<f64> = theta.iter().zip(d).map(|(t, d)| d.sqrt() * t.abs()).collect();
        let distance: f64 = theta.iter().zip(y).map(|(t, y)| (t - y).powi(2)).sum();
        lambda * value(&z, minimizer(&z, k).eta) + 0.5 * distance
    }

    /// Norms from 1e-6 to 1e3 with exact zeros among them, and weights.
    fn problem() -> impl Strategy<Value = (Vec<(f64, f64)>, f64, usize)> {
        let norm = prop_oneof![1 => Just(0.0), 8 => (-6.0..3.0f64).prop_map(|e| 10f64.powf(e))];
        (prop::collection::vec((norm, 0.2..4.0f64), 1..9), 1e-3..10.0f64, 0..9usize)
            .prop_map(|(groups, lambda, k)| (groups.clone(), lambda, k.min(groups.len())))
    }

    proptest! {
        #[test]
        fn u_sums_to_k_when_more_groups_are_non_zero((groups, lambda, k) in problem()) {
            let (y, d): (Vec<f64>, Vec<f64>) = groups.into_iter().unzip();
            let z: Vec<f64> = y.iter().zip(&d).map(|(y, d)| d.sqrt() * y).collect();
            let shrink: Vec<f64> = d.iter().map(|d| lambda * d).collect();
            let u = occupancy(&z, &shrink, k);
            let alive = z.iter().filter(|z| **z > 0.0).count();
            prop_assert!((u.iter().sum::<f64>() - alive.min(k) as f64).abs() < 1e-12);
            prop_assert!(z.iter().zip(&u).all(|(&z, &u)| z > 0.0 || u == 0.0));
        }

        #[test]
        fn no_nearby_point_is_better((groups, lambda, k) in problem()) {
            let (y, d): (Vec<f64>, Vec<f64>) = groups.into_iter().unzip();
            let theta = prox(&y, &d, lambda, k);
            let best = objective(&theta, &y, &d, lambda, k);
            for j in 0..y.len() {
                for step in [-1e-1, -1e-3, -1e-5, 1e-5, 1e-3, 1e-1] {
                    let mut moved = theta.clone();
                    moved[j] = (moved[j] + step * (1e-3 + y[j])).max(0.0);
                    prop_assert!(objective(&moved, &y, &d, lambda, k) >= best - 1e-12 * (1.0 + best));
                }
            }
        }

        #[test]
        fn groups_may_come_in_any_order((groups, lambda, k) in problem(), turn in 0..9usize) {
            let mut turned = groups.clone();
            turned.rotate_left(turn % groups.len());
            turned.reverse();
            let (y, d): (Vec<f64>, Vec<f64>) = groups.into_iter().unzip();
            let (y_turned, d_turned): (Vec<f64>, Vec<f64>) = turned.into_iter().unzip();
            let mut theta = prox(&y, &d, lambda, k);
            theta.rotate_left(turn % y.len());
            theta.reverse();
            for (a, b) in theta.iter().zip(prox(&y_turned, &d_turned, lambda, k)) {
                prop_assert!((a - b).abs() <= 1e-13 * (1.0 + a));
            }
        }
    }

    /// (y - theta) / lambda is a subgradient at theta: Fenchel equality between GS_k and its conjugate.
    #[test]
    fn first_order_condition() {
        let y = [4.0, 0.3, 1.1, 0.0, 2.5, 0.9, 1e-3];
        let d = [1.0, 2.0, 0.5, 1.0, 0.7, 1.5, 3.0];
        for k in 1..=7 {
            for lambda in [1e-3, 0.1, 1.0, 30.0] {
                let theta = prox(&y, &d, lambda, k);
                let slope: Vec<f64> = y.iter().zip(&theta).map(|(y, t)| (y - t) / lambda).collect();
                let z: Vec<f64> = theta.iter().zip(d).map(|(t, d): (&f64, f64)| d.sqrt() * t).collect();
                let mut squares: Vec<f64> = slope.iter().zip(d).map(|(s, d)| s * s / d).collect();
                squares.sort_by(|a, b| b.total_cmp(a));
                let conjugate = 0.5 * squares[..k].iter().sum::<f64>();
                let inner: f64 = slope.iter().zip(&theta).map(|(s, t)| s * t).sum();
                let gap = value(&z, minimizer(&z, k).eta) + conjugate - inner;
                assert!(gap.abs() < 1e-11 * (1.0 + inner), "k = {k}, lambda = {lambda}: gap {gap}");
            }
        }
    }

    #[test]
    fn special_cases() {
        let (y, d) = ([3.0, 0.0, 1.0], [1.0, 1.0, 2.0]);
        assert_eq!(prox(&y, &d, 0.5, 0), [0.0, 0.0, 0.0]);
        assert_eq!(prox(&y, &d, 0.5, 2), [2.0, 0.0, 0.5]);
        assert_eq!(prox(&y, &d, 0.0, 1), y);
        assert_eq!(prox(&[0.0; 3], &d, 0.5, 1), [0.0; 3]);
    }

    /// For d = 1 exactly k groups are left exactly when z_(k+1) / z_(k) <= lambda / (1 + lambda).
    #[test]
    fn one_call_is_exact_when_the_gap_is_wide() {
        let alive = |ratio: f64| prox(&[5.0, 1.0, ratio], &[1.0; 3], 1.0, 2).iter().filter(|t| **t > 0.0).count();
        assert_eq!(alive(0.4999), 2);
        assert_eq!(alive(0.5001), 3);
    }
}
