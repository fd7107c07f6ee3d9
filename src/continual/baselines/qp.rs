//! Small dense quadratic problems with lower bounds, in float64 on the host: GEM's projection.

use anyhow::{Context, Result, bail, ensure};

/// argmin 1/2 v' P v + q' v  s.t. v >= lower, for a symmetric positive semidefinite P (m x m, row by row). The
/// active-set method of Lawson and Hanson on u = v - lower >= 0: variables leave the bound one at a time, the one with
/// the steepest descent first.
pub fn bounded_qp(p: &[f64], q: &[f64], lower: f64) -> Result<Vec<f64>> {
    let m = q.len();
    ensure!(p.len() == m * m, "a quadratic form of {m} variables has {} values, got {}", m * m, p.len());
    let row = |i: usize| &p[i * m..(i + 1) * m];
    let linear: Vec<f64> = (0..m).map(|i| q[i] + lower * row(i).iter().sum::<f64>()).collect();
    let tolerance = 1e-14 * linear.iter().fold(0.0, |most: f64, c| most.max(c.abs()));
    let (mut u, mut free) = (vec![0.0; m], Vec::<usize>::new());
    // Variables whose release, by rounding, led nowhere since u last changed.
    let mut refused = vec![false; m];
    for _ in 0..100 * (m + 1) {
        let gradient: Vec<f64> = (0..m).map(|i| dot(row(i), &u) + linear[i]).collect();
        let bound = (0..m).filter(|i| !free.contains(i) && !refused[*i] && gradient[*i] < -tolerance);
        let Some(steepest) = bound.min_by(|&a, &b| gradient[a].total_cmp(&gradient[b])) else {
            return Ok(u.into_iter().map(|u| u + lower).collect());
        };
        free.push(steepest);
        let Some(mut goal) = minimum_over(p, &linear, &free).filter(|goal| goal[free.len() - 1] > 0.0) else {
            free.pop();
            refused[steepest] = true;
            continue;
        };
        // Walk towards the minimum over the free variables; whoever meets the bound on the way stays there.
        while goal.iter().any(|&to| to <= 0.0) {
            let reach = |(&i, &to): (&usize, &f64)| if to <= 0.0 { u[i] / (u[i] - to) } else { 1.0 };
            let steps: Vec<f64> = free.iter().zip(&goal).map(reach).collect();
            let step = steps.iter().copied().fold(1.0, f64::min);
            for (&i, to) in free.iter().zip(&goal) {
                u[i] += step * (to - u[i]);
            }
            let met: Vec<usize> = free.iter().zip(&steps).filter(|(_, s)| **s == step).map(|(&i, _)| i).collect();
            for &i in &met {
                u[i] = 0.0;
            }
            free.retain(|i| !met.contains(i));
            goal =
                minimum_over(p, &linear, &free).context("the memory gradients are linearly dependent: use a ridge")?;
        }
        for (&i, &to) in free.iter().zip(&goal) {
            u[i] = to;
        }
        refused.fill(false);
    }
    bail!("the projection of {m} memory gradients did not converge")
}

/// The minimum when only the variables `free` may differ from 0: P_ff u_f = -linear_f by Cholesky. `None` if P_ff is
/// singular.
fn minimum_over(p: &[f64], linear: &[f64], free: &[usize]) -> Option<Vec<f64>> {
    let (m, n) = (linear.len(), free.len());
    let mut factor = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let rest = p[free[i] * m + free[j]] - dot(&factor[i * n..i * n + j], &factor[j * n..j * n + j]);
            if i > j {
                factor[i * n + j] = rest / factor[j * n + j];
            } else if rest > 1e-14 * p[free[i] * m + free[i]] {
                factor[i * n + i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    let mut x: Vec<f64> = free.iter().map(|&i| -linear[i]).collect();
    for i in 0..n {
        x[i] = (x[i] - dot(&factor[i * n..i * n + i], &x[..i])) / factor[i * n + i];
    }
    for i in (0..n).rev() {
        let below: f64 = (i + 1..n).map(|j| factor[j * n + i] * x[j]).sum();
        x[i] = (x[i] - below) / factor[i * n + i];
    }
    Some(x)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    /// How far v is from the optimality conditions v >= lower, P v + q >= 0, (v - lower)(P v + q) = 0, relative to
    /// their terms.
    fn violation(p: &[f64], q: &[f64], lower: f64, v: &[f64]) -> f64 {
        let m = q.len();
        let one = |i: usize| {
            let row = &p[i * m..(i + 1) * m];
            let size = q[i].abs() + row.iter().zip(v).map(|(p, v)| (p * v).abs()).sum::<f64>();
            let gradient = (dot(row, v) + q[i]) / size.max(1e-300);
            let slack = v[i] - lower;
            (-slack).max(-gradient).max(if slack > 0.0 { gradient.abs() } else { 0.0 })
        };
        (0..m).map(one).fold(0.0, f64::max)
    }

    /// `rows` gradients of `width` values, some of them copies of earlier ones but for `noise`.
    fn gradients(rows: usize, width: usize, noise: f64, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = crate::rng::stream(seed, "gem test");
        let mut all: Vec<Vec<f64>> = Vec::new();
        for i in 0..rows {
            let twin = i > 0 && rng.random_bool(0.5);
            let row = (0..width).map(|j| match twin {
                true => all[i - 1][j] + noise * rng.random_range(-1.0..1.0),
                false => rng.random_range(-1.0..1.0),
            });
            let row = row.collect();
            all.push(row);
        }
        all
    }

    #[test]
    fn solutions_meet_the_optimality_conditions() {
        for seed in 0..200 {
            let rows = 1 + seed as usize % 19;
            for (noise, ridge, lower) in [(1.0, 1e-3, 0.5), (1e-6, 1e-3, 0.0), (0.0, 1e-3, 0.5), (0.0, 0.0, 0.0)] {
                let all = gradients(rows + 1, 30, noise, seed);
                let (g, memory) = all.split_first().unwrap();
                let entry = |k: usize| {
                    let (i, j) = (k / rows, k % rows);
                    dot(&memory[i], &memory[j]) + if i == j { ridge } else { 0.0 }
                };
                let p: Vec<f64> = (0..rows * rows).map(entry).collect();
                let q: Vec<f64> = memory.iter().map(|row| dot(row, g)).collect();
                let v = bounded_qp(&p, &q, lower).unwrap();
                let off = violation(&p, &q, lower, &v);
                assert!(off < 1e-9, "seed {seed}, {rows} rows, noise {noise}: {off:e}");
            }
        }
    }
}
