//! Gradual pruning (Zhu and Gupta 2017): sparsity rises fast at first, slowly at the end.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// s(t) = s1 + (s0 - s1) (1 - (t - t0) / (t1 - t0))^3 for t in [t0, t1], constant outside.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CubicSchedule {
    /// t0, the last step with the initial sparsity.
    pub start: i64,
    /// t1, the first step with the final sparsity.
    pub end: i64,
    /// s0, a fraction in [0, 1].
    pub initial: f64,
    /// s1, a fraction in [0, 1].
    #[serde(rename = "final")]
    pub last: f64,
}

impl CubicSchedule {
    pub fn check(&self) -> Result<()> {
        let CubicSchedule { start, end, initial, last } = *self;
        ensure!(start <= end, "a schedule must not end before it starts: start = {start}, end = {end}");
        for (name, sparsity) in [("initial", initial), ("final", last)] {
            ensure!((0.0..=1.0).contains(&sparsity), "{name} = {sparsity} must be a sparsity in [0, 1]");
        }
        Ok(())
    }

    /// The sparsity at step `t`.
    pub fn at(&self, t: i64) -> f64 {
        if t >= self.end {
            return self.last;
        }
        if t <= self.start {
            return self.initial;
        }
        let left = 1.0 - (t - self.start) as f64 / (self.end - self.start) as f64;
        self.last + (self.initial - self.last) * left.powi(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_from_initial_to_final_and_stays() {
        let schedule = CubicSchedule { start: 10, end: 110, initial: 0.1, last: 0.9 };
        assert_eq!([0, 10, 110, 500].map(|t| schedule.at(t)), [0.1, 0.1, 0.9, 0.9]);
        assert!((schedule.at(60) - (0.9 - 0.8 / 8.0)).abs() < 1e-15);
    }

    #[test]
    fn a_step_function_when_start_is_end() {
        let schedule = CubicSchedule { start: 5, end: 5, initial: 0.0, last: 0.5 };
        assert!(schedule.check().is_ok());
        assert_eq!([4, 5, 6].map(|t| schedule.at(t)), [0.0, 0.5, 0.5]);
        assert!(CubicSchedule { end: 4, ..schedule }.check().is_err());
        assert!(CubicSchedule { last: 1.5, ..schedule }.check().is_err());
    }
}
