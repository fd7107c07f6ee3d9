//! The one search behind the envelope and its prox: the eta with sum_j clip(eta z_j - s_j, 0, 1) = k, s_j = lambda d_j
//! (lambda = 0 for the envelope itself).
//!
//! g(eta) = sum_j u_j(eta) - k is continuous, non-decreasing and piecewise linear; u_j rises from 0 at s_j / z_j to 1 at
//! (1 + s_j) / z_j. The piece that crosses zero is found by halving the set of breakpoints at its median, then solved
//! exactly. A group is added to the running sums once, when the bracket has decided its state: nothing is ever
//! subtracted, so norms of very different size do not cancel. Linear time in m, also in the worst case.

/// u_j(eta) of one group.
pub fn clip(eta: f64, z: f64, shrink: f64) -> f64 {
    // A group without norm stays at zero even where eta is infinite.
    if z > 0.0 { (eta * z - shrink).clamp(0.0, 1.0) } else { 0.0 }
}

/// A group that is neither known to be empty, nor full, nor between over the whole bracket.
struct Ramp {
    start: f64,
    end: f64,
    z: f64,
    shrink: f64,
}

/// eta for norms `z` and `shrink` = lambda d (both `[m]`). Groups with z = 0 are left out. 0 when k = 0 (all u are 0);
/// infinite when at most k groups are non-zero (their u are 1). Where a whole interval of eta gives the same u, its least.
pub fn threshold(z: &[f64], shrink: &[f64], k: usize) -> f64 {
    if k == 0 {
        return 0.0;
    }
    let ramp = |(&z, &shrink): (&f64, &f64)| Ramp { start: shrink / z, end: (1.0 + shrink) / z, z, shrink };
    let mut open: Vec<Ramp> = z.iter().zip(shrink).filter(|(z, _)| **z > 0.0).map(ramp).collect();
    if open.len() <= k {
        return f64::INFINITY;
    }
    let k = k as f64;
    let mut breakpoints: Vec<f64> = open.iter().flat_map(|r| [r.start, r.end]).collect();
    // g(low) < 0 <= g(high); g on the bracket is full + eta * slope - offset + the open ramps - k.
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let (mut full, mut slope, mut offset) = (0.0, 0.0, 0.0);
    while !breakpoints.is_empty() {
        let median = breakpoints.len() / 2;
        let pivot = *breakpoints.select_nth_unstable_by(median, f64::total_cmp).1;
        let rising: f64 = open.iter().map(|r| clip(pivot, r.z, r.shrink)).sum();
        if full + (pivot * slope - offset) + rising < k {
            low = pivot;
        } else {
            high = pivot;
        }
        breakpoints.retain(|&eta| low < eta && eta < high);
        open.retain(|r| {
            if r.end <= low {
                full += 1.0;
            } else if r.start <= low && r.end >= high {
                slope += r.z;
                offset += r.shrink;
            } else {
                return r.start < high;
            }
            false
        });
    }
    // No slope: g is zero on the whole bracket but for rounding. At its upper end the next group could seem to start.
    if slope > 0.0 { ((k - full + offset) / slope).max(low).min(high) } else { low }
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
    fn a_plateau_is_not_missed_by_rounding() {
        // One group is full long before the other starts: the other's u must be 0, not 1e-17.
        let mut stream = crate::rng::stream(2, "plateau");
        for _ in 0..2000 {
            let (large, shrink): (f64, f64) = (stream.random_range(1.0..100.0), stream.random_range(0.1..100.0));
            let z = [large, 1e-3 * large * stream.random_range(0.1..1.0)];
            assert_eq!(u(&z, &[shrink; 2], 1)[1], 0.0, "z = {z:?}, shrink = {shrink}");
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

    #[test]
    fn a_nan_norm_poisons_no_other_group() {
        assert_eq!(u(&[f64::NAN, 1.0, 2.0], &[0.1; 3], 2), [0.0, 1.0, 1.0]);
    }
}
