//! The one search behind the envelope and its prox: the eta with sum_j clip(eta z_j - s_j, 0, 1) = k, s_j = lambda d_j
//! (lambda = 0 for the envelope itself).
//!
//! g(eta) = sum_j u_j(eta) - k is continuous, non-decreasing and piecewise linear; u_j rises from 0 at s_j / z_j to 1 at
//! (1 + s_j) / z_j. The piece that crosses zero is solved exactly. It is reached by solving the piece around the present
//! eta, again and again (a handful of times as a rule); every fourth time, and whenever that leaves the bracket, by going to
//! the median of the breakpoints in the bracket instead, which bounds the work by O(m log m). Every piece is summed afresh
//! from positive terms, so norms of very different size do not cancel.

/// u_j(eta) of one group. A rise below its own rounding error is none, so that rounding lets no dead group live.
pub fn clip(eta: f64, z: f64, shrink: f64) -> f64 {
    let rise = eta * z - shrink;
    // Also 0 for z = 0 and infinite eta, where the rise is not a number.
    if rise > 4.0 * f64::EPSILON * shrink { rise.min(1.0) } else { 0.0 }
}

/// sum_j u_j around one eta: full + sum over the groups between 0 and 1 of (eta z_j - s_j).
#[derive(Default)]
struct Piece {
    full: f64,
    slope: f64,
    offset: f64,
}

impl Piece {
    fn around(eta: f64, groups: &[(f64, f64)]) -> Piece {
        let mut piece = Piece::default();
        for &(z, shrink) in groups {
            let u = clip(eta, z, shrink);
            if u >= 1.0 {
                piece.full += 1.0;
            } else if u > 0.0 {
                piece.slope += z;
                piece.offset += shrink;
            }
        }
        piece
    }

    fn sum(&self, eta: f64) -> f64 {
        self.full + (eta * self.slope - self.offset)
    }

    /// Where the piece, continued as a line, reaches k.
    fn root(&self, k: f64) -> f64 {
        (k - self.full + self.offset) / self.slope
    }
}

/// The median of the breakpoints strictly between `low` and `high`.
fn median_breakpoint(groups: &[(f64, f64)], low: f64, high: f64) -> Option<f64> {
    let breakpoints = groups.iter().flat_map(|(z, shrink)| [shrink / z, (1.0 + shrink) / z]);
    let mut inside: Vec<f64> = breakpoints.filter(|&eta| low < eta && eta < high).collect();
    let middle = inside.len() / 2;
    (!inside.is_empty()).then(|| *inside.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// eta for norms `z` and `shrink` = lambda d (both `[m]`). Groups with z = 0 are left out. 0 when k = 0 (all u are 0);
/// infinite when at most k groups are non-zero (their u are 1). Where a whole interval of eta gives the same u, one of it.
pub fn threshold(z: &[f64], shrink: &[f64], k: usize) -> f64 {
    if k == 0 {
        return 0.0;
    }
    let groups: Vec<(f64, f64)> = z.iter().copied().zip(shrink.iter().copied()).filter(|(z, _)| *z > 0.0).collect();
    if groups.len() <= k {
        return f64::INFINITY;
    }
    let k = k as f64;
    // g(low) < 0 <= g(high). The first guess: all groups between 0 and 1.
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let all = Piece { full: 0.0, slope: groups.iter().map(|g| g.0).sum(), offset: groups.iter().map(|g| g.1).sum() };
    let mut eta = all.root(k);
    for round in 1.. {
        let piece = Piece::around(eta, &groups);
        let root = piece.root(k);
        if root == eta || (piece.slope == 0.0 && piece.full == k) {
            break;
        }
        if piece.sum(eta) < k {
            low = eta;
        } else {
            high = eta;
        }
        eta = if low < root && root < high && round % 4 != 0 {
            root
        } else if let Some(median) = median_breakpoint(&groups, low, high) {
            median
        } else {
            // One piece spans the bracket; flat, it is zero on all of it but for rounding.
            let piece = Piece::around(0.5 * (low + high), &groups);
            return if piece.slope > 0.0 { piece.root(k).max(low).min(high) } else { low };
        };
    }
    eta
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn u(z: &[f64], shrink: &[f64], k: usize) -> Vec<f64> {
        let eta = threshold(z, shrink, k);
        z.iter().zip(shrink).map(|(&z, &s)| clip(eta, z, s)).collect()
    }

    #[test]
    fn special_cases_come_before_the_search() {
        assert_eq!(u(&[1.0, 2.0], &[0.1, 0.1], 0), [0.0, 0.0]);
        assert_eq!(u(&[1.0, 0.0, 2.0], &[0.1; 3], 2), [1.0, 0.0, 1.0]);
        assert_eq!(u(&[0.0; 3], &[0.1; 3], 2), [0.0; 3]);
        assert_eq!(u(&[], &[], 0), [0.0; 0]);
    }

    #[test]
    fn equal_norms_share_k_evenly() {
        for (m, k) in [(4, 1), (4, 3), (7, 2)] {
            let shares = u(&vec![3.0; m], &vec![0.5; m], k);
            assert!(shares.iter().all(|u| (u - k as f64 / m as f64).abs() < 1e-15), "{shares:?}");
        }
    }

    #[test]
    fn a_plateau_keeps_exactly_k_groups() {
        // z_(3) / z_(2) < lambda / (1 + lambda): the third group is zero before the second is full.
        assert_eq!(u(&[0.1, 5.0, 0.2, 4.0], &[1.0; 4], 2), [0.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn rounding_lets_no_dead_group_live() {
        // One group is full long before the others start: u of the others must be 0, not 1e-17.
        let mut stream = crate::rng::stream(2, "plateau");
        for _ in 0..500 {
            let shrink = stream.random_range(0.5..4.0);
            let mut z: Vec<f64> = (0..20).map(|_| stream.random_range(0.02..0.3)).collect();
            z[0] = 1.0;
            assert_eq!(u(&z, &[shrink; 20], 1)[1..], [0.0; 19], "z = {z:?}, shrink = {shrink}");
        }
    }

    #[test]
    fn norms_over_hundreds_of_orders_of_magnitude_do_not_cancel() {
        // The large half is full; the tail is three tiny equal groups that share one unit.
        let z = [1e150, 1e100, 1e-150, 1e-150, 1e-150];
        let shares = u(&z, &[0.0; 5], 3);
        for (actual, expected) in shares.iter().zip([1.0, 1.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]) {
            assert!((actual - expected).abs() < 1e-15, "{shares:?}");
        }
    }

    /// Solving piece after piece passes few groups at a time here; the medians end it.
    #[test]
    fn geometric_norms_are_solved_exactly() {
        for (ratio, m) in [(0.5f64, 900), (0.9, 3000), (1.7, 400)] {
            let z: Vec<f64> = (0..m).map(|j| ratio.powi(j)).collect();
            for (k, shrink) in [(1, 0.0), (7, 0.0), (7, 0.3), (m as usize / 2, 1e-6)] {
                let sum: f64 = u(&z, &vec![shrink; z.len()], k).iter().sum();
                assert!((sum - k as f64).abs() < 1e-12 * k as f64, "ratio {ratio}, k = {k}: sum {sum}");
            }
        }
    }

    #[test]
    fn a_nan_norm_poisons_no_other_group() {
        assert_eq!(u(&[f64::NAN, 1.0, 2.0], &[0.1; 3], 2), [0.0, 1.0, 1.0]);
    }
}
