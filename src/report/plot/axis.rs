//! An axis: linear, logarithmic, or one place for each name.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use std::ops::Range;

#[derive(Clone, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Linear,
    Log,
    /// Place i has the name i; the first is at the top or left.
    Names(Vec<String>),
}

impl Axis {
    /// A little more than the values span; a logarithmic axis takes the positive ones.
    pub fn over(values: impl Iterator<Item = f64>, log: bool) -> Axis {
        let usable = |v: &f64| v.is_finite() && (!log || *v > 0.0);
        let scaled = values.filter(usable).map(|v| if log { v.log10() } else { v });
        let (low, high) = scaled.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let margin = match high > low {
            true => 0.04 * (high - low),
            false if log => 0.5,
            false => 0.5 * high.abs().max(1.0),
        };
        let kind = if log { Kind::Log } else { Kind::Linear };
        Axis { low: low - margin, high: high + margin, kind }
    }

    pub fn names(names: Vec<String>) -> Axis {
        Axis { low: names.len() as f64 - 0.5, high: -0.5, kind: Kind::Names(names) }
    }

    /// Where a value lies between the ends, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let scaled = if matches!(self.kind, Kind::Log) { value.log10() } else { value };
        (scaled - self.low) / (self.high - self.low)
    }

    pub fn holds(&self, value: f64) -> bool {
        (0.0..=1.0).contains(&self.place(value))
    }

    /// The values at the two ends.
    pub fn ends(&self) -> (f64, f64) {
        match self.kind {
            Kind::Log => (10f64.powf(self.low), 10f64.powf(self.high)),
            _ => (self.low, self.high),
        }
    }

    /// The widest label, for the room it needs.
    pub fn labels(&self) -> Vec<String> {
        self.key_points(6).iter().map(|v| self.format(v)).collect()
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.place(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match &self.kind {
            Kind::Linear => RangedCoordf64::from(self.low..self.high).key_points(hint),
            Kind::Log => decades(self.low, self.high, hint.max_num_points()),
            Kind::Names(names) => (0..names.len()).map(|i| i as f64).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        let (low, high) = self.ends();
        low..high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        tick(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        self.format(value)
    }
}

impl Axis {
    pub fn format(&self, value: &f64) -> String {
        match &self.kind {
            Kind::Names(names) => names.get(value.round() as usize).cloned().unwrap_or_default(),
            // Only there is so small a number not a rounded zero.
            Kind::Log if *value < 1e-12 => format!("{value:.0e}"),
            _ => tick(*value),
        }
    }
}

/// Powers of ten within the ends (given as logarithms): with 2 and 5 between them where they are few, thinned out where
/// there are too many.
fn decades(low: f64, high: f64, most: usize) -> Vec<f64> {
    let powers = |marks: &'static [f64]| {
        let all = (low.floor() as i32..=high.ceil() as i32).flat_map(|p| marks.iter().map(move |m| m * 10f64.powi(p)));
        all.filter(|v| (low..=high).contains(&v.log10())).collect::<Vec<f64>>()
    };
    let tens = powers(&[1.0]);
    if tens.len() < 2 {
        let fine = powers(&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]);
        return if fine.len() < 2 { vec![10f64.powf(low), 10f64.powf(high)] } else { fine };
    }
    if tens.len() == 2 && most >= 6 {
        return powers(&[1.0, 2.0, 5.0]);
    }
    let step = tens.len().div_ceil(most.max(2));
    tens.into_iter().step_by(step).collect()
}

/// A number at an axis: short, and without trailing zeros.
fn tick(value: f64) -> String {
    let short = |value: f64, places: usize| {
        let text = format!("{value:.places$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    let size = value.abs();
    if size < 1e-12 {
        "0".to_owned()
    } else if size >= 1e4 {
        let power = size.log10().floor() as i32;
        let (unit, name) = [(1e9, "G"), (1e6, "M"), (1e3, "k")][match power {
            9.. => 0,
            6..=8 => 1,
            _ => 2,
        }];
        if power >= 12 { format!("{value:.0e}") } else { format!("{}{name}", short(value / unit, 2)) }
    } else if size >= 1e-3 {
        short(value, 4)
    } else {
        let power = size.log10().floor() as i32;
        format!("{}e{power}", short(value / 10f64.powi(power), 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short_and_logarithmic_ones_are_decades() {
        let labels = [0.0, 0.05, 20000.0, 1.5e6, 1e-5, -0.25].map(tick);
        assert_eq!(labels, ["0", "0.05", "20k", "1.5M", "1e-5", "-0.25"]);
        let axis = Axis::over([0.0, 1e-4, 1e3].into_iter(), true);
        assert_eq!(axis.labels(), ["1e-4", "0.01", "1", "100"]);
        assert_eq!(axis.map(&0.31622776601683794, (0, 100)), 50);
        assert!(axis.holds(1.0) && !axis.holds(1e5));
        assert_eq!(decades(-0.1, 1.1, 6), [1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn names_stand_in_order() {
        let axis = Axis::names(vec!["a".into(), "b".into()]);
        assert_eq!((axis.labels(), axis.map(&1.0, (0, 100))), (vec!["a".to_owned(), "b".to_owned()], 25));
        let one = Axis::over([3.0].into_iter(), false);
        assert!(one.holds(3.0) && one.ends() == (1.5, 4.5));
    }
}
