//! The tree-structured Parzen estimator, one dimension at a time.

use rand::RngExt;
use std::f64::consts::{PI, SQRT_2};

use super::random;
use super::space::{Dimension, Scale, Space};

/// Trials before the estimate starts.
pub const RANDOM_TRIALS: usize = 10;
const CANDIDATES: usize = 24;

/// What earlier trials say, best first; the running ones (constant liar) last.
pub struct Observed {
    /// Numbers of the trials with a value, best first.
    pub ranked: Vec<Vec<f64>>,
    /// Numbers of the trials under way, counted as bad.
    pub running: Vec<Vec<f64>>,
}

/// One number a dimension. Of n trials with a value the best k = min(ceil(0.1 n), 25) form l, the others g; in each dimension
/// the candidate drawn from l with the largest log l - log g is taken.
pub fn point(space: &Space, observed: &Observed, rng: &mut impl RngExt) -> Vec<f64> {
    let n = observed.ranked.len();
    if n < RANDOM_TRIALS {
        return random::point(space, rng);
    }
    let (good, bad) = observed.ranked.split_at(n.div_ceil(10).min(25));
    let one = |(i, (_, dimension)): (usize, (&str, &Dimension))| {
        let column = |trials: &[Vec<f64>]| trials.iter().map(|numbers| numbers[i]).collect::<Vec<f64>>();
        let good = column(good);
        let bad = [column(bad), column(&observed.running)].concat();
        match (dimension, dimension.scale()) {
            (_, Some(scale)) => numeric(scale, &good, &bad, rng),
            (Dimension::Categorical { choices }, None) => choice(choices.len(), &good, &bad, rng),
            (_, None) => unreachable!("numeric dimensions have a scale"),
        }
    };
    space.iter().enumerate().map(one).collect()
}

fn numeric(scale: Scale, good: &[f64], bad: &[f64], rng: &mut impl RngExt) -> f64 {
    let [l, g] = [good, bad].map(|values| Mixture::new(scale, values));
    let candidates = (0..CANDIDATES).map(|_| scale.value(l.draw(rng)));
    let score = |value: f64| {
        let u = scale.coordinate(value);
        l.log_density(u) - g.log_density(u)
    };
    best(candidates.map(|value| (value, score(value))))
}

fn choice(choices: usize, good: &[f64], bad: &[f64], rng: &mut impl RngExt) -> f64 {
    let shares = |values: &[f64]| {
        let mut counts = vec![1.0 / choices as f64; choices];
        values.iter().for_each(|&value| counts[value as usize] += 1.0);
        let sum: f64 = counts.iter().sum();
        counts.iter().map(|count| count / sum).collect::<Vec<f64>>()
    };
    let (l, g) = (shares(good), shares(bad));
    let draw = |rng: &mut _| {
        let mut rest: f64 = RngExt::random(rng);
        l.iter().position(|share| {
            rest -= share;
            rest < 0.0
        })
    };
    let candidates: Vec<usize> = (0..CANDIDATES).map(|_| draw(rng).unwrap_or(choices - 1)).collect();
    best(candidates.into_iter().map(|i| (i as f64, l[i].ln() - g[i].ln())))
}

/// The first of the highest scores.
fn best(scored: impl Iterator<Item = (f64, f64)>) -> f64 {
    let higher = |a: (f64, f64), b: (f64, f64)| if b.1 > a.1 { b } else { a };
    scored.reduce(higher).expect("there are candidates").0
}

/// Normals truncated to the scale's interval with equal weights: one a point, and a wide prior in the middle.
struct Mixture {
    low: f64,
    high: f64,
    components: Vec<Component>,
}

struct Component {
    mean: f64,
    sigma: f64,
    /// log of weight / (sigma sqrt(2 pi) P(low <= X <= high)).
    log_scale: f64,
}

impl Mixture {
    /// sigma_i = the larger gap to the two neighbours in the sorted list of points, prior mean and both ends, clipped to
    /// [(high-low)/min(100, 1+n), high-low], n the number of points in this mixture.
    fn new(scale: Scale, values: &[f64]) -> Mixture {
        let Scale { low, high, .. } = scale;
        let range = high - low;
        let prior = (low + high) / 2.0;
        let mut means: Vec<f64> = values.iter().map(|&value| scale.coordinate(value)).collect();
        means.push(prior);
        let prior_at = means.len() - 1;
        let mut order: Vec<usize> = (0..means.len()).collect();
        order.sort_by(|&a, &b| means[a].total_cmp(&means[b]));
        let floor = range / (1.0 + values.len() as f64).min(100.0);
        let weight = 1.0 / means.len() as f64;
        let components = order.iter().enumerate().map(|(place, &i)| {
            let below = if place == 0 { low } else { means[order[place - 1]] };
            let above = order.get(place + 1).map_or(high, |&next| means[next]);
            let mean = means[i];
            let sigma = if i == prior_at { range } else { (mean - below).max(above - mean).clamp(floor, range) };
            let inside = cumulative((high - mean) / sigma) - cumulative((low - mean) / sigma);
            Component { mean, sigma, log_scale: (weight / (sigma * (2.0 * PI).sqrt() * inside)).ln() }
        });
        Mixture { low, high, components: components.collect() }
    }

    fn draw(&self, rng: &mut impl RngExt) -> f64 {
        let Component { mean, sigma, .. } = self.components[rng.random_range(0..self.components.len())];
        // The mean lies inside and sigma is at most the range: a third of the draws or more are kept.
        loop {
            let u = mean + sigma * normal(rng);
            if (self.low..=self.high).contains(&u) {
                return u;
            }
        }
    }

    fn log_density(&self, u: f64) -> f64 {
        let term = |c: &Component| c.log_scale - ((u - c.mean) / c.sigma).powi(2) / 2.0;
        let largest = self.components.iter().map(term).fold(f64::NEG_INFINITY, f64::max);
        largest + self.components.iter().map(|c| (term(c) - largest).exp()).sum::<f64>().ln()
    }
}

/// A standard normal (Box and Muller).
fn normal(rng: &mut impl RngExt) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * PI * v).cos()
}

/// The standard normal's distribution function.
fn cumulative(x: f64) -> f64 {
    (1.0 + erf(x / SQRT_2)) / 2.0
}

/// erf(x) = 2/sqrt(pi) e^{-x^2} sum_k 2^k x^{2k+1}/(1 3 5 ... (2k+1)): all terms of one sign, so no digits are lost.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut k) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * k + 1.0);
        sum += term;
        k += 1.0;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn the_error_function_is_exact() {
        for (x, expected) in
            [(0.0, 0.0), (0.5, 0.5204998778130465), (-1.0, -0.8427007929497149), (3.0, 0.9999779095030014)]
        {
            assert!((erf(x) - expected).abs() < 1e-15, "erf({x}) = {}", erf(x));
        }
    }

    #[test]
    fn a_mixture_is_a_density() {
        let scale = Dimension::Float { low: -1.0, high: 3.0, log: false, step: None, values: None, points: None }
            .scale()
            .unwrap();
        let mixture = Mixture::new(scale, &[-0.9, 0.0, 0.1, 2.9]);
        let n = 4000;
        let sum: f64 = (0..n).map(|i| mixture.log_density(-1.0 + 4.0 * (i as f64 + 0.5) / n as f64).exp()).sum();
        assert!((sum * 4.0 / n as f64 - 1.0).abs() < 1e-6);
    }

    /// Best value of one study.
    fn study(space: &Space, f: impl Fn(&[f64]) -> f64, trials: u64, seed: u64, tpe: bool) -> f64 {
        let mut done: Vec<(f64, Vec<f64>)> = Vec::new();
        for i in 0..trials {
            let mut rng = rng::stream(seed, &format!("trial {i}"));
            let ranked = if tpe { done.iter().map(|(_, x)| x.clone()).collect() } else { Vec::new() };
            let x = point(space, &Observed { ranked, running: Vec::new() }, &mut rng);
            done.push((f(&x), x));
            done.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        done[0].0
    }

    fn median_best(dimensions: usize, trials: u64, seeds: u64, tpe: bool) -> f64 {
        let one = Dimension::Float { low: -10.0, high: 10.0, log: false, step: None, values: None, points: None };
        let space = Space::new((0..dimensions).map(|i| (format!("x{i}"), one.clone())).collect()).unwrap();
        let f = |x: &[f64]| x.iter().map(|x| (x - 2.0).powi(2)).sum();
        let mut bests: Vec<f64> = (0..seeds).map(|seed| study(&space, f, trials, seed, tpe)).collect();
        bests.sort_by(f64::total_cmp);
        let upper = bests.len() / 2;
        (bests[upper - 1] + bests[upper]) / 2.0
    }

    #[test]
    fn finds_a_parabolas_minimum_and_beats_random_in_six_dimensions() {
        let one = median_best(1, 100, 10, true);
        let (six, random) = (median_best(6, 150, 4, true), median_best(6, 150, 10, false));
        assert!(one < 1e-3, "{one}");
        assert!(six <= 0.25 * random, "{six} {random}");
    }

    #[test]
    fn a_category_that_wins_is_preferred() {
        let ranked = (0..20).map(|i| vec![f64::from(i >= 4)]).collect();
        let space: Space = toml::from_str("[a]\nkind='categorical'\nchoices=['x','y']").unwrap();
        let observed = Observed { ranked, running: Vec::new() };
        let picked: f64 = (0..50).map(|i| point(&space, &observed, &mut rng::stream(i, "pick"))[0]).sum();
        assert_eq!(picked, 0.0);
    }
}
