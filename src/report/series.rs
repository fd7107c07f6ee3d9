//! Values of several runs as one curve or bar: the mean over seeds with what lies around it.

use clap::ValueEnum;
use std::collections::BTreeMap;

use super::Sample;
use super::plot::Bar;

/// What is drawn around a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Around {
    None,
    /// Standard deviation over seeds
    Std,
    /// Standard error of the mean
    Sem,
    /// Least and greatest
    Minmax,
}

impl Around {
    /// None for a single value.
    fn of(self, sample: &Sample) -> Option<(f64, f64)> {
        let mean = sample.mean();
        let about = |spread: f64| (mean - spread, mean + spread);
        match self {
            _ if sample.n() < 2 => None,
            Around::None => None,
            Around::Std => sample.std().map(about),
            Around::Sem => sample.error().map(about),
            Around::Minmax => Some((sample.min(), sample.max())),
        }
    }

    pub fn bar(self, sample: &Sample) -> Option<Bar> {
        (sample.n() > 0).then(|| Bar { value: sample.mean(), spread: self.of(sample) })
    }
}

/// A mean curve, and (x, low, high) around it.
#[derive(Default)]
pub struct Series {
    pub points: Vec<(f64, f64)>,
    pub around: Vec<(f64, f64, f64)>,
}

/// The mean of curves at the places that all of them have (all places of a lone one).
pub fn averaged(runs: &[Vec<(f64, f64)>], around: Around) -> Series {
    if let [only] = runs {
        return Series { points: only.clone(), around: Vec::new() };
    }
    // Ordered by place; a place that a run has twice counts with its last value.
    let mut values: BTreeMap<u64, Vec<(usize, f64)>> = BTreeMap::new();
    for (run, points) in runs.iter().enumerate() {
        for &(x, y) in points.iter().filter(|(x, _)| !x.is_nan()) {
            let held = values.entry(ordered(x)).or_default();
            match held.last_mut() {
                Some(last) if last.0 == run => last.1 = y,
                _ => held.push((run, y)),
            }
        }
    }
    let mut series = Series::default();
    for (key, held) in values.into_iter().filter(|(_, held)| held.len() == runs.len()) {
        let x = place(key);
        let sample = Sample(held.into_iter().map(|(_, y)| y).collect());
        series.points.push((x, sample.mean()));
        series.around.extend(around.of(&sample).map(|(low, high)| (x, low, high)));
    }
    series
}

/// Bits that sort as the numbers do.
fn ordered(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn place(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_averaged_where_all_have_values() {
        let runs = [vec![(-1.0, 1.0), (0.0, 2.0), (2.0, 9.0)], vec![(-1.0, 3.0), (0.0, 7.0), (0.0, 4.0)]];
        let series = averaged(&runs, Around::Minmax);
        assert_eq!(series.points, [(-1.0, 2.0), (0.0, 3.0)]);
        assert_eq!(series.around, [(-1.0, 1.0, 3.0), (0.0, 2.0, 4.0)]);
        assert!(averaged(&runs[..1], Around::Std).around.is_empty());
    }
}
