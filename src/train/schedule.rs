//! Learning-rate schedules in closed form: the rate is a pure function of the step, computed on the host.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The shape of the schedule after the warmup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The base rate throughout.
    #[default]
    Constant,
    /// Times `gamma` every `step_size`.
    Step,
    /// Times `gamma` at each of `milestones`.
    Multistep,
    /// Half a cosine from the base rate down to `floor` at the end of the run (Loshchilov & Hutter 2017).
    Cosine,
    /// Cosines of length `t_0`, each `t_mult` times as long as the one before (Loshchilov & Hutter 2017).
    CosineWarmRestarts,
    /// A straight line from the base rate to 0 at the end of the run, cut at `floor`.
    Linear,
}

/// What a schedule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The rate changes between epochs.
    #[default]
    Epoch,
    /// The rate changes at every step.
    Step,
}

/// The `[schedule]` table. Lengths are counted in `per`. Each kind reads the fields that name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// constant, step, multistep, cosine, cosine-warm-restarts or linear. Default constant.
    pub kind: ScheduleKind,
    /// The unit of every length here: epoch or step. Default epoch.
    pub per: Clock,
    /// step: epochs or steps between two drops, at least 1. Default 30.
    #[schemars(range(min = 1))]
    pub step_size: u64,
    /// multistep: epochs or steps at which the rate drops, ascending. Default none.
    pub milestones: Vec<u64>,
    /// step, multistep: factor of each drop, > 0. Default 0.1.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
    /// cosine-warm-restarts: length of the first cosine in epochs or steps, at least 1. Default 10.
    #[schemars(range(min = 1))]
    pub t_0: u64,
    /// cosine-warm-restarts: length of each cosine over that of the one before, at least 1. Default 1.
    #[schemars(range(min = 1))]
    pub t_mult: u64,
    /// The smallest rate after the warmup, absolute, >= 0. Default 0.
    #[schemars(range(min = 0.0))]
    pub floor: f64,
    /// Epochs or steps in which the rate grows linearly to the base rate; the schedule starts after them, at its own zero.
    /// Default 0 (none).
    pub warmup: u64,
    /// The rate at the start of the warmup over the base rate, 0 to 1. Default 0.01.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_start: f64,
}

impl Default for ScheduleConfig {
    fn default() -> ScheduleConfig {
        ScheduleConfig {
            kind: ScheduleKind::Constant,
            per: Clock::Epoch,
            step_size: 30,
            milestones: Vec::new(),
            gamma: 0.1,
            t_0: 10,
            t_mult: 1,
            floor: 0.0,
            warmup: 0,
            warmup_start: 0.01,
        }
    }
}

impl ScheduleConfig {
    /// Says which value is out of its range.
    pub fn check(&self) -> Result<()> {
        let lengths = [("step_size", self.step_size), ("t_0", self.t_0), ("t_mult", self.t_mult)];
        for (name, value) in lengths {
            ensure!(value >= 1, "schedule.{name} = {value}, but it must be at least 1");
        }
        ensure!(
            self.milestones.is_sorted_by(|a, b| a < b),
            "schedule.milestones = {:?}, but they must ascend",
            self.milestones
        );
        ensure!(
            self.kind != ScheduleKind::Multistep || !self.milestones.is_empty(),
            "schedule.kind = \"multistep\" needs milestones, for example milestones = [80, 120]"
        );
        let (gamma, floor, start) = (self.gamma, self.floor, self.warmup_start);
        ensure!(gamma.is_finite() && gamma > 0.0, "schedule.gamma = {gamma}, but it must be above 0");
        ensure!(floor.is_finite() && floor >= 0.0, "schedule.floor = {floor}, but it must be at least 0");
        ensure!((0.0..=1.0).contains(&start), "schedule.warmup_start = {start}, but it must be from 0 to 1");
        Ok(())
    }

    /// The learning rate of step `step` (counted from 0) of a run of `total_steps`, for the base rate `base`;
    /// `steps_per_epoch` is at least 1. Equal to
    /// PyTorch's schedulers, and with a warmup to SequentialLR of LinearLR and the schedule.
    pub fn lr(&self, base: f64, step: u64, steps_per_epoch: u64, total_steps: u64) -> f64 {
        let (now, end) = match self.per {
            Clock::Epoch => (step / steps_per_epoch, total_steps.div_ceil(steps_per_epoch)),
            Clock::Step => (step, total_steps),
        };
        if now < self.warmup {
            let start = self.warmup_start;
            return base * (start + (1.0 - start) * now as f64 / self.warmup as f64);
        }
        self.after_warmup(base, now - self.warmup, end.saturating_sub(self.warmup).max(1))
    }

    /// `t` of `total` epochs or steps after the warmup.
    fn after_warmup(&self, base: f64, t: u64, total: u64) -> f64 {
        let progress = (t as f64 / total as f64).min(1.0);
        // eta_min + (eta_max - eta_min) (1 + cos(pi T_cur / T_i)) / 2
        let cosine = |progress: f64| self.floor + (base - self.floor) * (1.0 + (PI * progress).cos()) / 2.0;
        let dropped = |drops: usize| base * self.gamma.powi(drops as i32);
        match self.kind {
            ScheduleKind::Constant => base,
            ScheduleKind::Step => dropped((t / self.step_size) as usize).max(self.floor),
            ScheduleKind::Multistep => dropped(self.milestones.partition_point(|&at| at <= t)).max(self.floor),
            ScheduleKind::Cosine => cosine(progress),
            ScheduleKind::CosineWarmRestarts => {
                let (mut within, mut length) = (t, self.t_0);
                if self.t_mult == 1 {
                    within %= length;
                }
                while within >= length {
                    within -= length;
                    length = length.saturating_mul(self.t_mult);
                }
                cosine(within as f64 / length as f64)
            }
            ScheduleKind::Linear => (base * (1.0 - progress)).max(self.floor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind) -> ScheduleConfig {
        ScheduleConfig { kind, ..ScheduleConfig::default() }
    }

    #[test]
    fn an_epoch_clock_holds_the_rate_within_an_epoch() {
        let halves = ScheduleConfig { step_size: 1, gamma: 0.5, ..schedule(ScheduleKind::Step) };
        let rates: Vec<f64> = (0..6).map(|step| halves.lr(8.0, step, 2, 6)).collect();
        assert_eq!(rates, [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]);
    }

    #[test]
    fn the_warmup_comes_before_the_schedules_own_zero() {
        let linear = ScheduleConfig {
            per: Clock::Step,
            warmup: 4,
            warmup_start: 0.0,
            floor: 0.5,
            ..schedule(ScheduleKind::Linear)
        };
        let rates: Vec<f64> = (0..9).map(|step| linear.lr(1.0, step, 3, 8)).collect();
        assert_eq!(rates, [0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn values_out_of_range_are_errors() {
        for (bad, what) in [
            (schedule(ScheduleKind::Multistep), "needs milestones"),
            (ScheduleConfig { milestones: vec![5, 3], ..ScheduleConfig::default() }, "[5, 3]"),
            (ScheduleConfig { t_0: 0, ..ScheduleConfig::default() }, "schedule.t_0 = 0"),
            (ScheduleConfig { gamma: f64::NAN, ..ScheduleConfig::default() }, "schedule.gamma = NaN"),
            (ScheduleConfig { warmup_start: 1.5, ..ScheduleConfig::default() }, "schedule.warmup_start = 1.5"),
        ] {
            let error = bad.check().expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
