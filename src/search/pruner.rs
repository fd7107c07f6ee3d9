//! Which trials are stopped early.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::study::Study;

/// When a trial is stopped, asked after each of its reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Pruner {
    /// Never.
    #[default]
    None,
    /// When its best value so far is worse than the median of the finished trials' best values up to the same step.
    Median {
        /// No trial is stopped before this step.
        #[serde(default)]
        warmup: u64,
    },
    /// Asynchronous successive halving: at rungs min_steps, min_steps eta, ... <= max_steps only the best 1/eta of the values
    /// seen there so far go on. Hyperband is this for several min_steps.
    Asha {
        /// r: the first rung.
        min_steps: u64,
        /// R: steps of a whole trial.
        max_steps: u64,
        /// 3 or 4.
        #[serde(default = "three")]
        eta: u64,
    },
}

fn three() -> u64 {
    3
}

/// Finished trials the median needs.
const MEDIAN_TRIALS: usize = 5;

impl Pruner {
    pub fn check(&self) -> Result<()> {
        if let Pruner::Asha { min_steps, max_steps, eta } = *self {
            ensure!(eta >= 2, "pruner.eta = {eta} must be at least 2");
            ensure!(min_steps >= 1, "pruner.min_steps = 0 must be at least 1");
            ensure!(min_steps <= max_steps, "pruner.min_steps = {min_steps} must not exceed max_steps = {max_steps}");
        }
        Ok(())
    }

    /// Whether `trial` is to be stopped after its last report.
    pub fn stops(&self, study: &Study, trial: usize) -> bool {
        match *self {
            Pruner::None => false,
            Pruner::Median { warmup } => median_stops(study, trial, warmup),
            Pruner::Asha { min_steps, max_steps, eta } => asha_stops(study, trial, min_steps, max_steps, eta),
        }
    }
}

fn median_stops(study: &Study, trial: usize, warmup: u64) -> bool {
    let loss = |value: f64| study.header.mode.loss(value);
    let best_until = |trial: usize, until: u64| {
        let reports = study.trials[trial].reports.iter().filter(|(step, _)| *step <= until);
        reports.map(|(_, value)| loss(*value)).min_by(f64::total_cmp)
    };
    let Some(&(step, _)) = study.trials[trial].reports.last() else { return false };
    let finished: Vec<usize> = (0..study.trials.len()).filter(|&i| study.trials[i].is_done()).collect();
    if step < warmup || finished.len() < MEDIAN_TRIALS {
        return false;
    }
    let mut others: Vec<f64> = finished.into_iter().filter_map(|i| best_until(i, step)).collect();
    if others.is_empty() {
        return false;
    }
    others.sort_by(f64::total_cmp);
    let middle = others.len() / 2;
    let median = if others.len() % 2 == 1 { others[middle] } else { (others[middle - 1] + others[middle]) / 2.0 };
    best_until(trial, step).is_some_and(|best| best > median)
}

/// The first report at or after a rung is the trial's value there. Of the m values seen so far the best floor(m/eta) go on; all
/// do while m < eta.
fn asha_stops(study: &Study, trial: usize, min_steps: u64, max_steps: u64, eta: u64) -> bool {
    let reports = &study.trials[trial].reports;
    let Some(&(step, value)) = reports.last() else { return false };
    let before = reports.len().checked_sub(2).map_or(0, |i| reports[i].0);
    let rungs =
        std::iter::successors(Some(min_steps), |rung| rung.checked_mul(eta)).take_while(|rung| *rung <= max_steps);
    // The whole trial is no rung to stop at: it is done.
    let Some(rung) = rungs.take_while(|rung| *rung <= step).last().filter(|rung| *rung > before && step < max_steps)
    else {
        return false;
    };
    let loss = |value: f64| study.header.mode.loss(value);
    let at_rung =
        |trial: &super::Trial| trial.reports.iter().find(|(step, _)| *step >= rung).map(|(_, value)| loss(*value));
    let seen: Vec<f64> = study.trials.iter().filter_map(at_rung).collect();
    let better = seen.iter().filter(|other| **other < loss(value)).count();
    let m = seen.len() as u64;
    m >= eta && better as u64 >= m / eta
}

#[cfg(test)]
mod tests {
    use super::super::journal::Event;
    use super::super::study::{Header, Mode, Owner, Spent};
    use super::super::{Sampler, Space};
    use super::*;

    fn empty(pruner: Pruner) -> Study {
        let space: Space = toml::from_str("[x]\nkind='float'\nlow=0.0\nhigh=1.0").unwrap();
        Study::new(Header { metric: "loss".into(), mode: Mode::Min, seed: 0, sampler: Sampler::Random, pruner, space })
    }

    /// Runs a trial on a curve until it is stopped or done; the steps it made.
    fn run(study: &mut Study, curve: impl Fn(u64) -> f64, steps: u64) -> u64 {
        let trial = study.trials.len();
        let params = study.header.sampler.next(study).unwrap().unwrap();
        let owner = Owner { host: "here".into(), pid: 1 };
        let apply = |study: &mut Study, event: Event| study.apply(&event).unwrap();
        apply(study, Event::Created { trial, params, owner });
        for step in 1..=steps {
            apply(study, Event::Report { trial, step, value: curve(step) });
            if study.header.pruner.stops(study, trial) {
                apply(study, Event::Pruned { trial, spent: Spent::default() });
                return step;
            }
        }
        apply(study, Event::Done { trial, value: curve(steps), spent: Spent::default() });
        steps
    }

    #[test]
    fn asha_finds_the_best_curve_at_a_fifth_of_the_cost() {
        use rand::RngExt;
        for seed in 0..5 {
            let mut study = empty(Pruner::Asha { min_steps: 1, max_steps: 81, eta: 3 });
            let mut rng = crate::rng::stream(seed, "curves");
            let curves: Vec<(f64, f64)> = (0..81).map(|_| (rng.random(), rng.random())).collect();
            let steps: u64 = curves.iter().map(|&(a, b)| run(&mut study, |t| a + b / t as f64, 81)).sum();
            let (best, _) = study.best().unwrap();
            let rank = curves.iter().filter(|(a, _)| *a < curves[best].0).count();
            assert!(rank <= 3, "seed {seed}: rank {rank}");
            assert!(steps * 5 <= 81 * 81, "seed {seed}: {steps} steps, {:.1}%", steps as f64 / 65.61);
        }
    }

    #[test]
    fn the_first_trials_of_a_rung_go_on() {
        let mut study = empty(Pruner::Asha { min_steps: 1, max_steps: 9, eta: 3 });
        assert_eq!(run(&mut study, |_| 5.0, 9), 9);
        assert_eq!(run(&mut study, |_| 9.0, 9), 9);
        assert_eq!(run(&mut study, |_| 6.0, 9), 1);
        assert_eq!(run(&mut study, |_| 4.0, 9), 9);
    }

    #[test]
    fn the_median_waits_for_five_trials_and_the_warmup() {
        let mut study = empty(Pruner::Median { warmup: 3 });
        for value in [1.0, 2.0, 3.0, 4.0, 5.0] {
            assert_eq!(run(&mut study, |_| value, 10), 10);
        }
        assert_eq!(run(&mut study, |_| 3.5, 10), 3);
        assert_eq!(run(&mut study, |_| 2.5, 10), 10);
        // Its best value counts, not its last.
        assert_eq!(run(&mut study, |t| if t == 1 { 0.0 } else { 9.0 }, 10), 10);
    }
}
