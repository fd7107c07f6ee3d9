//! The search as tensor operations, for tensors whose values the host must not read: static shapes, all layers of a network
//! in one batch `[L, M]` (a layer with fewer than M groups is padded with z = 0). Same formulas as `search`, `envelope` and
//! `prox`; float64 throughout.
//!
//! The breakpoints are sorted and the first one with g >= 0 is found by a search with 32 branches a round: each candidate's
//! g is summed afresh over the groups, since a running sum along the breakpoints would cancel between large and small norms.

use tch::{Kind, Tensor};

const BRANCHES: i64 = 32;

/// u(eta), the arguments broadcast; see [`super::search::clip`].
fn clip(eta: &Tensor, z: &Tensor, shrink: &Tensor) -> Tensor {
    let rise = eta * z - shrink;
    rise.clamp_max(1.0).where_scalarother(&rise.gt_tensor(&(shrink * (4.0 * f64::EPSILON))), 0.0)
}

/// eta `[L, 1]` with sum_j clip(eta z_j - s_j, 0, 1) = k, for z and `shrink` = lambda d `[L, M]` and k `[L, 1]`.
/// 0 where k = 0, infinite where at most k groups are non-zero.
fn threshold(z: &Tensor, shrink: &Tensor, k: &Tensor) -> Tensor {
    let alive = z.gt(0.0);
    let z = &z.where_scalarother(&alive, 0.0); // a NaN must not reach the other groups' sums
    // Zero groups get the largest finite number for breakpoints: behind all others, and harmless in eta * 0.
    let breakpoints = |shrink: &Tensor| (shrink / z).clamp_max(f64::MAX).where_scalarother(&alive, f64::MAX);
    let (start, end) = (breakpoints(shrink), breakpoints(&(shrink + 1.0)));
    let sorted = Tensor::cat(&[&start, &end], -1).sort(-1, false).0;
    let last = sorted.size()[1] - 1;

    let (z_row, shrink_row) = (z.unsqueeze(1), shrink.unsqueeze(1));
    let filled = |eta: &Tensor| clip(&eta.unsqueeze(2), &z_row, &shrink_row).sum_dim_intlist(2, false, Kind::Double);
    let branches = Tensor::arange_start(1, BRANCHES, (Kind::Int64, z.device()));
    // `below`: how many breakpoints are known to have g < 0, found digit by digit.
    let mut below = Tensor::zeros([z.size()[0], 1], (Kind::Int64, z.device()));
    let mut stride = 1;
    while stride * BRANCHES <= last {
        stride *= BRANCHES;
    }
    while stride > 0 {
        let at = (&below + &branches * stride - 1).clamp_max(last);
        let negative = filled(&sorted.gather(1, &at, false)).lt_tensor(k);
        below += negative.sum_dim_intlist(1, true, Kind::Int64) * stride;
        stride /= BRANCHES;
    }

    // g(low) < 0 <= g(high): solve the one linear piece.
    let high = sorted.gather(1, &below.clamp(0, last), false);
    let low = sorted.gather(1, &(below - 1).clamp(0, last), false);
    let sum = |x: &Tensor| x.sum_dim_intlist(1, true, Kind::Double);
    let full = sum(&(end.le_tensor(&low).logical_and(&alive)));
    let active = start.le_tensor(&low).logical_and(&end.ge_tensor(&high)).logical_and(&alive).to_kind(Kind::Double);
    let slope = sum(&(&active * z));
    let piece = ((k - full + sum(&(&active * shrink))) / &slope).maximum(&low).minimum(&high);
    let eta = piece.where_self(&slope.gt(0.0), &low);
    let count = sum(&alive);
    eta.where_scalarother(&count.gt_tensor(k), f64::INFINITY).where_scalarother(&k.gt(0.0), 0.0)
}

/// u `[L, M]`; see [`super::prox::occupancy`].
pub fn occupancy(z: &Tensor, shrink: &Tensor, k: &Tensor) -> Tensor {
    clip(&threshold(z, shrink, k), z, shrink)
}

/// u / (u + lambda d), 0 where u = 0; see [`super::prox::factor`].
pub fn prox_factors(u: &Tensor, shrink: &Tensor) -> Tensor {
    (u / (u + shrink)).where_scalarother(&u.gt(0.0), 0.0)
}

/// d / u, 0 for zero groups; see [`super::envelope::gradient_factors`].
pub fn gradient_factors(z: &Tensor, u: &Tensor, d: &Tensor) -> Tensor {
    (d / u).where_scalarother(&z.gt(0.0), 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::{envelope, prox};
    use super::*;
    use crate::rng;
    use rand::RngExt;

    fn rows(values: &[Vec<f64>]) -> Tensor {
        Tensor::from_slice2(values)
    }

    fn host(t: &Tensor) -> Vec<Vec<f64>> {
        Vec::<Vec<f64>>::try_from(t).unwrap()
    }

    fn assert_close(host_form: &[Vec<f64>], device_form: &Tensor) {
        for (i, (a, b)) in host_form.iter().zip(host(device_form)).enumerate() {
            for (j, (a, b)) in a.iter().zip(b).enumerate() {
                assert!(
                    (a - b).abs() <= 1e-12 * a.abs().max(1.0),
                    "row {i}, group {j}: {a} on the host, {b} on the device"
                );
            }
        }
    }

    /// Random layers with ties, zeros and norms of many sizes; k from 0 to m; more breakpoints than two rounds can hold.
    fn layers(m: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<usize>) {
        let mut stream = rng::stream(5, "device layers");
        let ks = [0, 1, m / 10, m / 2, m - 1, m, m / 3, 2];
        let z = (0..ks.len()).map(|row| {
            let size = |x: f64| match row {
                6 => 10f64.powf(40.0 * x - 20.0),
                7 => (4.0 * x).round(),
                _ => x,
            };
            (0..m).map(|j| if j % 7 == 3 { 0.0 } else { size(stream.random_range(0.0..1.0)) }).collect()
        });
        let z: Vec<Vec<f64>> = z.collect();
        let d = (0..ks.len()).map(|_| (0..m).map(|_| stream.random_range(0.3..3.0)).collect()).collect();
        (z, d, ks.to_vec())
    }

    #[test]
    fn agrees_with_the_host_form() {
        for (m, lambda) in [(5, 0.3), (64, 0.01), (700, 0.0), (700, 0.002), (700, 20.0)] {
            let (z, d, ks) = layers(m);
            let shrink: Vec<Vec<f64>> = d.iter().map(|d| d.iter().map(|d| d * lambda).collect()).collect();
            let k = Tensor::from_slice(&ks.iter().map(|&k| k as f64).collect::<Vec<_>>()).unsqueeze(1);

            let u: Vec<Vec<f64>> = (0..ks.len()).map(|l| prox::occupancy(&z[l], &shrink[l], ks[l])).collect();
            let on_device = occupancy(&rows(&z), &rows(&shrink), &k);
            assert_close(&u, &on_device);

            let factor = |l: usize| u[l].iter().zip(&shrink[l]).map(|(&u, &s)| prox::factor(u, s)).collect();
            let factors: Vec<Vec<f64>> = (0..ks.len()).map(factor).collect();
            assert_close(&factors, &prox_factors(&on_device, &rows(&shrink)));
        }
    }

    #[test]
    fn gradients_agree_with_the_host_form() {
        let (z, d, _) = layers(64);
        let u: Vec<Vec<f64>> = z.iter().map(|z| envelope::minimizer(z, 9).u).collect();
        let k = Tensor::full([z.len() as i64, 1], 9.0, (Kind::Double, tch::Device::Cpu));
        let on_device = occupancy(&rows(&z), &rows(&d).zeros_like(), &k);
        assert_close(&u, &on_device);
        let factor = |l: usize| envelope::gradient_factors(&z[l], &u[l], &d[l]);
        let factors: Vec<Vec<f64>> = (0..z.len()).map(factor).collect();
        assert_close(&factors, &gradient_factors(&rows(&z), &on_device, &rows(&d)));
    }
}
