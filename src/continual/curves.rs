//! Accuracies measured after every iteration, and the worst-case metrics of "Continual evaluation for lifelong
//! learning" (De Lange et al., ICLR 2023). A(E_i, f_n) is the accuracy on task i at record n, n_i the last record of
//! task i.

use anyhow::{Result, ensure};
use std::collections::VecDeque;

use super::metrics::{mean, mean_or_zero, worst_case};

/// One accuracy series per task, fractions; NaN where the task was not evaluated (not started yet).
#[derive(Clone, Debug)]
pub struct Curves {
    /// `series[i][n]` = A(E_i, f_n).
    series: Vec<Vec<f64>>,
}

/// Largest fall (WF) and rise (WP) within a window.
#[derive(Clone, Debug)]
pub struct Windowed {
    pub fall_per_task: Vec<f64>,
    pub rise_per_task: Vec<f64>,
    /// WF: mean over tasks.
    pub fall: f64,
    /// WP: mean over tasks.
    pub rise: f64,
}

impl Curves {
    /// `acc`: N x T, row by row, N and T at least 1.
    pub fn new(acc: &[f64], tasks: usize) -> Result<Curves> {
        ensure!(tasks > 0, "accuracy curves need at least one task");
        ensure!(
            !acc.is_empty() && acc.len().is_multiple_of(tasks),
            "accuracy curves need at least one record of {tasks} tasks, got {} values",
            acc.len()
        );
        if let Some(at) = acc.iter().position(|a| !a.is_nan() && !(0.0..=1.0).contains(a)) {
            let (record, task) = (at / tasks, at % tasks);
            anyhow::bail!("accuracies must be fractions between 0 and 1: record {record}, task {task} has {}", acc[at]);
        }
        Ok(Curves { series: (0..tasks).map(|i| acc.iter().skip(i).step_by(tasks).copied().collect()).collect() })
    }

    /// T.
    pub fn tasks(&self) -> usize {
        self.series.len()
    }

    /// N.
    pub fn records(&self) -> usize {
        self.series[0].len()
    }

    /// WF^w and WP^w: per task, the largest A(E_i, f_m) - A(E_i, f_n) (fall) or its negative (rise) over m < n that
    /// share a window of w consecutive measured records, n - m < w; at least 0. O(N T). `window` at least 1, which
    /// gives 0.
    pub fn windowed(&self, window: usize) -> Result<Windowed> {
        ensure!(window >= 1, "window = {window} must be at least 1 record");
        let measured = |series: &[f64], sign: f64| -> Vec<f64> {
            series.iter().filter(|a| !a.is_nan()).map(|a| sign * a).collect()
        };
        let per_task = |sign: f64| -> Vec<f64> {
            self.series.iter().map(|series| largest_fall(&measured(series, sign), window)).collect()
        };
        let (fall_per_task, rise_per_task) = (per_task(1.0), per_task(-1.0));
        let (fall, rise) = (mean(fall_per_task.iter().copied()), mean(rise_per_task.iter().copied()));
        Ok(Windowed { fall_per_task, rise_per_task, fall, rise })
    }
}

/// max over n of (the largest of the w values up to n) - value n. The queue holds the positions that can still be the
/// maximum of a window, with falling values: each enters and leaves once.
fn largest_fall(series: &[f64], window: usize) -> f64 {
    let mut candidates: VecDeque<(usize, f64)> = VecDeque::new();
    let mut worst: f64 = 0.0;
    for (n, &value) in series.iter().enumerate() {
        while candidates.back().is_some_and(|&(_, earlier)| earlier <= value) {
            candidates.pop_back();
        }
        candidates.push_back((n, value));
        if n - candidates[0].0 >= window {
            candidates.pop_front();
        }
        worst = worst.max(candidates[0].1 - value);
    }
    worst
}

/// Curves and the task being learnt at each record. The record before the first update does not belong here.
#[derive(Clone, Debug)]
pub struct Trace {
    curves: Curves,
    task: Vec<usize>,
    /// First and last record of each task; `None` for a task that was never learnt.
    spans: Vec<Option<(usize, usize)>>,
}

/// What happened to old task `task` while task `switch` was learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    pub task: usize,
    pub switch: usize,
    /// A(E_i, f) at the last record before the switch.
    pub before: f64,
    /// The lowest accuracy during task `switch`.
    pub minimum: f64,
    /// before - minimum: positive if accuracy was lost, even for a while.
    pub depth: f64,
    /// The record of the (first) minimum.
    pub minimum_at: usize,
    /// The first record of the task `switch`, from the minimum on, that is back at 95% of `before`.
    pub recovered_at: Option<usize>,
}

impl Trace {
    /// `task` `[N]`: the task being learnt at each record, never decreasing, below T.
    pub fn new(curves: Curves, task: &[i64]) -> Result<Trace> {
        let (records, tasks) = (curves.records(), curves.tasks());
        ensure!(task.len() == records, "the task column has {} records, the accuracies {records}", task.len());
        let mut spans = vec![None; tasks];
        for (n, &t) in task.iter().enumerate() {
            ensure!((0..tasks as i64).contains(&t), "record {n} learns task {t}, the tasks are 0..{}", tasks - 1);
            ensure!(n == 0 || task[n - 1] <= t, "the task column must not decrease: record {n} goes back to task {t}");
            let (_, last) = spans[t as usize].get_or_insert((n, n));
            *last = n;
        }
        Ok(Trace { curves, task: task.iter().map(|&t| t as usize).collect(), spans })
    }

    pub fn curves(&self) -> &Curves {
        &self.curves
    }

    /// The last task learnt (k); tasks 0..=k have been seen.
    pub fn last_task(&self) -> usize {
        self.task[self.task.len() - 1]
    }

    /// A(E_on, f_{n_after}); NaN if task `after` was never learnt.
    fn at_end(&self, after: usize, on: usize) -> f64 {
        self.spans[after].map_or(f64::NAN, |(_, end)| self.curves.series[on][end])
    }

    /// ACC_k = (1/(k+1)) sum_{i<=k} A(E_i, f_{n_k}) after each task, `[T]`.
    pub fn accuracy(&self) -> Vec<f64> {
        (0..self.curves.tasks()).map(|k| mean((0..k + 1).map(|i| self.at_end(k, i)))).collect()
    }

    /// FORG_k = (1/k) sum_{i<k} (A(E_i, f_{n_i}) - A(E_i, f_{n_k})) after each task, `[T]`; positive = forgetting, 0
    /// for k = 0.
    pub fn forgetting(&self) -> Vec<f64> {
        let forgotten = |k: usize| mean_or_zero((0..k).map(|i| self.at_end(i, i) - self.at_end(k, i)));
        (0..self.curves.tasks()).map(forgotten).collect()
    }

    /// min_{n_i < n <= n_k} A(E_i, f_n) per task, `[T]`, k the last task learnt; NaN for task k itself and later ones.
    pub fn minima(&self) -> Vec<f64> {
        let last = self.last_task();
        let lowest = |(i, series): (usize, &Vec<f64>)| match self.spans[i] {
            Some((_, end)) if i < last => series[end + 1..].iter().copied().fold(f64::NAN, f64::min),
            _ => f64::NAN,
        };
        self.curves.series.iter().enumerate().map(lowest).collect()
    }

    /// min-ACC_k: the mean of the old tasks' minima; NaN when there is no old task.
    pub fn min_acc(&self) -> f64 {
        mean(self.minima()[..self.last_task()].iter().copied())
    }

    /// WC-ACC_n at every record, `[N]`: (1/(k+1)) A(E_k, f_n) + (1 - 1/(k+1)) min-ACC over the records up to n, k the
    /// task learnt at n; the accuracy for k = 0.
    pub fn worst_case(&self) -> Vec<f64> {
        let mut minima = vec![f64::NAN; self.curves.tasks()];
        let at = |(n, &k): (usize, &usize)| {
            for (lowest, series) in minima[..k].iter_mut().zip(&self.curves.series) {
                *lowest = lowest.min(series[n]);
            }
            worst_case(self.curves.series[k][n], mean(minima[..k].iter().copied()), k + 1)
        };
        self.task.iter().enumerate().map(at).collect()
    }

    /// LCA_beta: mean over tasks of the mean accuracy on the task being learnt over its first `beta` records. Tasks
    /// with fewer records are left out; NaN if none has enough.
    pub fn lca(&self, beta: usize) -> Result<f64> {
        ensure!(beta >= 1, "beta = {beta} must be at least 1 record");
        let first = |(series, span): (&Vec<f64>, &Option<(usize, usize)>)| {
            let (start, end) = (*span)?;
            (end - start + 1 >= beta).then(|| mean(series[start..start + beta].iter().copied()))
        };
        let means: Vec<f64> = self.curves.series.iter().zip(&self.spans).filter_map(first).collect();
        Ok(mean(means.into_iter()))
    }

    /// The stability gap of every old task at every switch, by switch, then task. Tasks never learnt or without any
    /// measurement during a task have none.
    pub fn gaps(&self) -> Vec<Gap> {
        let switches = self.spans.iter().enumerate().filter_map(|(switch, span)| Some((switch, (*span)?)));
        switches.flat_map(|(switch, span)| (0..switch).filter_map(move |task| self.gap(task, switch, span))).collect()
    }

    fn gap(&self, task: usize, switch: usize, (start, end): (usize, usize)) -> Option<Gap> {
        self.spans[task]?;
        let series = &self.curves.series[task];
        let measured = (start..=end).filter(|&n| !series[n].is_nan());
        let minimum_at = measured.min_by(|&a, &b| series[a].total_cmp(&series[b]))?;
        let (before, minimum) = (series[start - 1], series[minimum_at]);
        let recovered_at = (minimum_at..=end).find(|&n| series[n] >= 0.95 * before);
        Some(Gap { task, switch, before, minimum, depth: before - minimum, minimum_at, recovered_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    const NAN: f64 = f64::NAN;

    fn random_curve(length: usize, seed: u64) -> Vec<f64> {
        let mut rng = crate::rng::stream(seed, "curves test");
        // Few levels make ties; gaps stand for records without an evaluation.
        (0..length).map(|_| if rng.random_bool(0.1) { NAN } else { rng.random_range(0..12) as f64 / 11.0 }).collect()
    }

    fn trace(rows: &[&[f64]], task: &[i64]) -> Trace {
        Trace::new(Curves::new(&rows.concat(), rows[0].len()).unwrap(), task).unwrap()
    }

    #[test]
    fn windowed_agrees_with_the_definition() {
        for seed in 0..60 {
            let curve = random_curve(1 + seed as usize % 40, seed);
            let measured: Vec<f64> = curve.iter().copied().filter(|a| !a.is_nan()).collect();
            for window in [1, 2, 3, 7, 100] {
                let pairs = || (0..measured.len()).flat_map(|n| (0..n).map(move |m| (m, n)));
                let falls = pairs().filter(|(m, n)| n - m < window).map(|(m, n)| measured[m] - measured[n]);
                let (fall, rise) = falls.fold((0.0f64, 0.0f64), |(f, r), d| (f.max(d), r.max(-d)));
                let windowed = Curves::new(&curve, 1).unwrap().windowed(window).unwrap();
                assert_eq!((windowed.fall, windowed.rise), (fall, rise), "seed {seed}, window {window}");
            }
        }
    }

    #[test]
    fn a_pruned_search_would_miss_this_rise() {
        let windowed = Curves::new(&[0.9, 0.5, 0.2, 0.8], 1).unwrap().windowed(10).unwrap();
        assert!((windowed.rise - 0.6).abs() < 1e-12 && (windowed.fall - 0.7).abs() < 1e-12);
    }

    #[test]
    fn the_metrics_of_a_small_trace() {
        let rows: [&[f64]; 5] = [&[0.5, NAN], &[0.8, NAN], &[0.2, 0.1], &[0.6, 0.7], &[0.4, 0.9]];
        let trace = trace(&rows, &[0, 0, 1, 1, 1]);
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(&trace.accuracy(), &[0.8, 0.65]) && near(&trace.forgetting(), &[0.0, 0.4]));
        assert_eq!(trace.minima()[0], 0.2);
        assert!(trace.minima()[1].is_nan());
        assert_eq!(trace.min_acc(), 0.2);
        assert!(near(&trace.worst_case(), &[0.5, 0.8, 0.15, 0.45, 0.55]));
        assert!(near(&[trace.lca(2).unwrap(), trace.lca(3).unwrap()], &[0.525, 1.7 / 3.0]));
        assert!(trace.lca(4).unwrap().is_nan());
        let gap = trace.gaps()[0];
        assert_eq!((gap.minimum_at, gap.minimum, gap.before, gap.recovered_at), (2, 0.2, 0.8, None));
    }

    #[test]
    fn gaps_recover_at_95_percent_within_the_task() {
        let rows: [&[f64]; 5] = [&[0.8, NAN], &[0.3, 0.0], &[0.3, 0.2], &[0.77, 0.3], &[0.8, 0.4]];
        let gaps = trace(&rows, &[0, 1, 1, 1, 1]).gaps();
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].depth, gaps[0].minimum_at, gaps[0].recovered_at), (0.5, 1, Some(3)));
    }

    #[test]
    fn a_single_task_has_no_minimum() {
        let trace = trace(&[&[0.5], &[0.7]], &[0, 0]);
        assert!(trace.min_acc().is_nan() && trace.minima()[0].is_nan() && trace.gaps().is_empty());
        assert_eq!((trace.worst_case(), trace.accuracy(), trace.forgetting()), (vec![0.5, 0.7], vec![0.7], vec![0.0]));
    }

    #[test]
    fn tasks_not_yet_learnt_are_unknown() {
        let rows: [&[f64]; 2] = [&[0.5, NAN, NAN], &[0.4, 0.6, NAN]];
        let trace = trace(&rows, &[0, 1]);
        assert!(trace.accuracy()[2].is_nan() && trace.forgetting()[2].is_nan());
        assert_eq!((trace.min_acc(), trace.last_task()), (0.4, 1));
    }

    #[test]
    fn bad_input_is_one_sentence() {
        let error = |acc: &[f64], tasks| Curves::new(acc, tasks).unwrap_err().to_string();
        assert!(error(&[0.5, 93.5], 2).contains("accuracies must be fractions"));
        assert!(error(&[0.5, 93.5], 2).contains("task 1 has 93.5"));
        assert!(error(&[0.5; 3], 2).contains("2 tasks") && error(&[], 2).contains("at least one record"));
        let curves = || Curves::new(&[0.5; 4], 2).unwrap();
        assert!(Trace::new(curves(), &[1, 0]).unwrap_err().to_string().contains("must not decrease"));
        assert!(Trace::new(curves(), &[0, 2]).unwrap_err().to_string().contains("task 2"));
        assert!(Trace::new(curves(), &[0]).is_err());
        assert!(curves().windowed(0).is_err());
        assert!(Trace::new(curves(), &[0, 1]).unwrap().lca(0).is_err());
    }
}
