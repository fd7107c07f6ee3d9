//! The simplex method of Nelder and Mead on the unit cube, bounds by clipping: for at most ten continuous parameters.

use std::ops::ControlFlow::{self, Break, Continue};

const REFLECTION: f64 = 1.0;
const EXPANSION: f64 = 2.0;
const CONTRACTION: f64 = 0.5;
const SHRINK: f64 = 0.5;
/// Edge of the first simplex, in ranges.
const EDGE: f64 = 0.05;
pub const MOST_PARAMETERS: usize = 10;

/// Values of the points asked for so far, in order; running past them is the next point.
struct Oracle<'a> {
    values: std::slice::Iter<'a, f64>,
}

impl Oracle<'_> {
    fn ask(&mut self, point: &[f64]) -> ControlFlow<Vec<f64>, f64> {
        match self.values.next() {
            Some(&value) => Continue(value),
            None => Break(point.to_vec()),
        }
    }
}

/// The point to evaluate after `values`, the objective (to minimise) at the points before it: the method is run again from the
/// start on the values there are, so a resumed search needs no state. `start` and the result lie in [0,1]^d.
pub fn next_point(start: &[f64], values: &[f64]) -> Vec<f64> {
    let Break(point) = run(start, Oracle { values: values.iter() }) else { unreachable!("the search has no end") };
    point
}

fn run(start: &[f64], mut oracle: Oracle) -> ControlFlow<Vec<f64>> {
    let d = start.len();
    let mut simplex = Vec::with_capacity(d + 1);
    for i in 0..=d {
        let mut point = start.to_vec();
        if i > 0 {
            // Away from the nearer bound, so that clipping does not flatten the simplex.
            point[i - 1] += if point[i - 1] + EDGE <= 1.0 { EDGE } else { -EDGE };
        }
        simplex.push((oracle.ask(&point)?, point));
    }
    loop {
        simplex.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (best, second_worst, worst) = (simplex[0].0, simplex[d.saturating_sub(1)].0, simplex[d].0);
        let centroid: Vec<f64> =
            (0..d).map(|i| simplex[..d].iter().map(|(_, p)| p[i]).sum::<f64>() / d as f64).collect();
        // centroid + t (worst - centroid), clipped.
        let along = |t: f64, worst: &[f64]| -> Vec<f64> {
            centroid.iter().zip(worst).map(|(c, w)| (c + t * (w - c)).clamp(0.0, 1.0)).collect()
        };
        let reflected = along(-REFLECTION, &simplex[d].1);
        let value = oracle.ask(&reflected)?;
        if value < best {
            let expanded = along(-EXPANSION, &simplex[d].1);
            let further = oracle.ask(&expanded)?;
            simplex[d] = if further < value { (further, expanded) } else { (value, reflected) };
        } else if value < second_worst {
            simplex[d] = (value, reflected);
        } else {
            let t = if value < worst { -CONTRACTION } else { CONTRACTION };
            let contracted = along(t, &simplex[d].1);
            let nearer = oracle.ask(&contracted)?;
            if nearer < value.min(worst) {
                simplex[d] = (nearer, contracted);
            } else {
                let origin = simplex[0].1.clone();
                for (value, point) in &mut simplex[1..] {
                    for (p, o) in point.iter_mut().zip(&origin) {
                        *p = o + SHRINK * (*p - o);
                    }
                    *value = oracle.ask(point)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimise(f: impl Fn(&[f64]) -> f64, start: &[f64], evaluations: usize) -> (f64, Vec<f64>) {
        let mut values = Vec::new();
        let mut best = (f64::INFINITY, Vec::new());
        for _ in 0..evaluations {
            let point = next_point(start, &values);
            assert!(point.iter().all(|p| (0.0..=1.0).contains(p)));
            let value = f(&point);
            values.push(value);
            if value < best.0 {
                best = (value, point);
            }
        }
        best
    }

    #[test]
    fn finds_the_valley_of_rosenbrock() {
        let f = |p: &[f64]| {
            let (x, y) = (4.0 * p[0] - 2.0, 4.0 * p[1] - 2.0);
            (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2)
        };
        let (value, point) = minimise(f, &[0.2, 0.8], 250);
        assert!(value < 1e-8, "{value} at {point:?}");
    }

    #[test]
    fn finds_a_minimum_on_the_bound() {
        let (value, _) = minimise(|p| p[0] + (p[1] - 0.3).powi(2), &[0.5, 0.5], 120);
        assert!(value < 1e-4, "{value}");
    }
}
