//! The accuracy matrix `R[i, j]` (accuracy on the test set of task j after training task i) and what is read off it.
//! All values are fractions; NaN = not measured, and whatever needs a value that was not measured is NaN too. Every
//! transfer or forgetting value of a stream of one task is 0.

use anyhow::{Result, ensure};

/// R, T x T.
#[derive(Clone, Debug)]
pub struct AccuracyMatrix {
    tasks: usize,
    /// Row-major.
    values: Vec<f64>,
}

/// Everything read off the matrix after the last task. Averages are over tasks; `_weighted` ones over test samples.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Metrics {
    /// (1/T) sum_j `R[T-1, j]`.
    pub avg_acc: f64,
    /// The same, each task weighted by its test samples.
    pub avg_acc_weighted: f64,
    /// (1/T) sum_i `stage_acc[i]`.
    pub avg_incremental: f64,
    /// (1/T) sum_i of row i's mean over j <= i, weighted by test samples.
    pub avg_incremental_weighted: f64,
    /// mean_{j<=i} `R[i, j]`, `[T]`.
    pub stage_acc: Vec<f64>,
    /// (1/T) sum_i `R[i, i]`.
    pub learning_acc: f64,
    /// Backward transfer, (1/(T-1)) sum_{j<T-1} (`R[T-1, j]` - `R[j, j]`); negative = forgetting.
    pub bwt: f64,
    /// Forward transfer, (1/(T-1)) sum_{j>=1} (`R[j-1, j]` - `r0[j]`); needs the future measured and r0.
    pub fwt: f64,
    /// Chaudhry et al. 2018: (1/(T-1)) sum_{j<T-1} (max_{j<=i<T-1} `R[i, j]` - `R[T-1, j]`); may be negative.
    pub forgetting: f64,
    /// The same with the last row in the maximum (Mammoth, PILOT); never negative.
    pub forgetting_clipped: f64,
    /// -bwt (Avalanche).
    pub forgetting_first: f64,
    /// (1/T) sum_j (`ref[j]` - `R[j, j]`); needs the joint accuracies.
    pub intransigence: f64,
    /// min_j `R[T-1, j]`.
    pub worst_final: f64,
}

impl Metrics {
    /// The scalars under their names, in the order of the struct.
    pub fn scalars(&self) -> [(&'static str, f64); 12] {
        [
            ("avg_acc", self.avg_acc),
            ("avg_acc_weighted", self.avg_acc_weighted),
            ("avg_incremental", self.avg_incremental),
            ("avg_incremental_weighted", self.avg_incremental_weighted),
            ("learning_acc", self.learning_acc),
            ("bwt", self.bwt),
            ("fwt", self.fwt),
            ("forgetting", self.forgetting),
            ("forgetting_clipped", self.forgetting_clipped),
            ("forgetting_first", self.forgetting_first),
            ("intransigence", self.intransigence),
            ("worst_final", self.worst_final),
        ]
    }
}

impl AccuracyMatrix {
    /// A matrix with nothing measured.
    pub fn new(tasks: usize) -> AccuracyMatrix {
        AccuracyMatrix { tasks, values: vec![f64::NAN; tasks * tasks] }
    }

    /// From T x T values, row by row.
    pub fn from_rows(tasks: usize, values: Vec<f64>) -> Result<AccuracyMatrix> {
        ensure!(
            tasks > 0 && values.len() == tasks * tasks,
            "an accuracy matrix is square with a row per task: got {} values for {tasks} tasks",
            values.len()
        );
        Ok(AccuracyMatrix { tasks, values })
    }

    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// `R[after, on]`.
    pub fn get(&self, after: usize, on: usize) -> f64 {
        self.values[after * self.tasks + on]
    }

    pub fn set(&mut self, after: usize, on: usize, accuracy: f64) {
        self.values[after * self.tasks + on] = accuracy;
    }

    /// Row i over the tasks seen after task i: R[i, 0..=i].
    fn seen(&self, after: usize) -> &[f64] {
        &self.values[after * self.tasks..][..=after]
    }

    fn last(&self, on: usize) -> f64 {
        self.get(self.tasks - 1, on)
    }

    /// All metrics of a stream of at least one task. `random` (r0): accuracies of the untrained model; `joint` (ref):
    /// accuracy on task j of a model trained on tasks 0..=j together; `sizes`: test samples per task, a task without
    /// any has no weight.
    pub fn metrics(&self, random: Option<&[f64]>, joint: Option<&[f64]>, sizes: &[i64]) -> Result<Metrics> {
        let tasks = self.tasks;
        ensure!(tasks > 0, "a stream needs at least one task");
        for (what, len) in
            [("random accuracies", random.map(<[f64]>::len)), ("joint accuracies", joint.map(<[f64]>::len))]
        {
            ensure!(len.is_none_or(|n| n == tasks), "{} {what} given for {tasks} tasks", len.unwrap_or(0));
        }
        ensure!(sizes.len() == tasks, "{} test set sizes given for {tasks} tasks", sizes.len());
        ensure!(sizes.iter().all(|&n| n >= 0), "test set sizes cannot be negative, got {sizes:?}");

        let stage_acc: Vec<f64> = (0..tasks).map(|i| mean(self.seen(i).iter().copied())).collect();
        let forgotten = |best: &dyn Fn(usize) -> f64| mean_or_zero((0..tasks - 1).map(|j| best(j) - self.last(j)));
        let best = |on: usize, end: usize| (on..end).map(|i| self.get(i, on)).reduce(larger).unwrap_or(f64::NAN);
        let gain = |reference: Option<&[f64]>, j: usize| reference.map_or(f64::NAN, |r| r[j]);
        Ok(Metrics {
            avg_acc: stage_acc[tasks - 1],
            avg_acc_weighted: weighted_mean(self.seen(tasks - 1), sizes),
            avg_incremental: mean(stage_acc.iter().copied()),
            avg_incremental_weighted: mean((0..tasks).map(|i| weighted_mean(self.seen(i), sizes))),
            learning_acc: mean((0..tasks).map(|i| self.get(i, i))),
            bwt: mean_or_zero((0..tasks - 1).map(|j| self.last(j) - self.get(j, j))),
            fwt: mean_or_zero((1..tasks).map(|j| self.get(j - 1, j) - gain(random, j))),
            forgetting: forgotten(&|j| best(j, tasks - 1)),
            forgetting_clipped: forgotten(&|j| best(j, tasks)),
            forgetting_first: forgotten(&|j| self.get(j, j)),
            intransigence: mean((0..tasks).map(|j| gain(joint, j) - self.get(j, j))),
            worst_final: self.seen(tasks - 1).iter().copied().reduce(smaller).unwrap_or(f64::NAN),
            stage_acc,
        })
    }
}

/// Metrics of accuracies measured several times per task.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct TraceMetrics {
    /// (1/(T-1)) sum_{j<T-1} min_{n > `task_end[j]`} `acc[n, j]`; NaN for one task.
    pub min_acc: f64,
    /// `acc[last, T-1]` / T + (1 - 1/T) min_acc; the accuracy for one task.
    pub wc_acc: f64,
    /// Mean of the last row.
    pub avg_acc: f64,
    /// (1/(T-1)) sum_{j<T-1} `(acc[task_end[j], j] - acc[last, j])`; 0 for one task.
    pub forgetting: f64,
}

/// `acc`: E x T, row by row, one row per evaluation; `task_end[j]`: the row measured right after task j ended.
pub fn trace_metrics(acc: &[f64], task_end: &[i64]) -> Result<TraceMetrics> {
    let tasks = task_end.len();
    ensure!(tasks > 0, "a stream needs at least one task");
    ensure!(acc.len().is_multiple_of(tasks), "{} accuracies are not rows of {tasks} tasks", acc.len());
    let rows = acc.len() / tasks;
    let rising = task_end[0] >= 0 && task_end.windows(2).all(|e| e[0] < e[1]);
    ensure!(
        rising && task_end[tasks - 1] < rows as i64,
        "task_end = {task_end:?} must rise and name rows below {rows}"
    );
    let at = |row: usize, task: usize| acc[row * tasks + task];
    let end = |task: usize| task_end[task] as usize;
    let last = rows - 1;
    let lowest = |j: usize| (end(j) + 1..rows).map(|n| at(n, j)).fold(f64::NAN, f64::min);
    let min_acc = mean((0..tasks - 1).map(lowest));
    Ok(TraceMetrics {
        min_acc,
        wc_acc: worst_case(at(last, tasks - 1), min_acc, tasks),
        avg_acc: mean((0..tasks).map(|j| at(last, j))),
        forgetting: mean_or_zero((0..tasks - 1).map(|j| at(end(j), j) - at(last, j))),
    })
}

/// Worst-case accuracy after `seen` tasks: current / seen + (1 - 1 / seen) min_acc; the current accuracy for one task.
pub fn worst_case(current: f64, min_acc: f64, seen: usize) -> f64 {
    if seen == 1 {
        return current;
    }
    let share = 1.0 / seen as f64;
    share * current + (1.0 - share) * min_acc
}

/// NaN for nothing.
pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// 0 for nothing: transfer and forgetting of a single task.
pub(super) fn mean_or_zero(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    if values.len() == 0 { 0.0 } else { mean(values) }
}

fn weighted_mean(row: &[f64], sizes: &[i64]) -> f64 {
    let weighted = row.iter().zip(sizes).filter(|(_, n)| **n > 0);
    let (sum, weight) = weighted.fold((0.0, 0.0), |(sum, weight), (r, &n)| (sum + r * n as f64, weight + n as f64));
    sum / weight
}

// Unlike f64::max and f64::min, these do not hide a value that is missing.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn random(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = crate::rng::stream(seed, "metrics test");
        (0..n).map(|_| rng.random_range(0.0..1.0)).collect()
    }

    #[test]
    fn identities() {
        for seed in 0..20 {
            let tasks = 2 + seed as usize % 5;
            let matrix = AccuracyMatrix::from_rows(tasks, random(tasks * tasks, seed)).unwrap();
            let zeros = vec![0.0; tasks];
            let m = matrix.metrics(Some(&zeros), Some(&zeros), &vec![7; tasks]).unwrap();
            assert!((m.forgetting_first + m.bwt).abs() < 1e-12);
            assert!(m.forgetting_clipped >= 0.0 && m.forgetting_clipped >= m.forgetting - 1e-12);
            assert!(m.forgetting >= m.forgetting_first - 1e-12);
            assert!((m.avg_acc - m.avg_acc_weighted).abs() < 1e-12);
            assert!((m.avg_incremental - m.avg_incremental_weighted).abs() < 1e-12);
            assert!((m.intransigence + m.learning_acc).abs() < 1e-12);
            assert!(m.worst_final <= m.avg_acc);
        }
    }

    #[test]
    fn one_task_transfers_and_forgets_nothing() {
        let matrix = AccuracyMatrix::from_rows(1, vec![0.7]).unwrap();
        let m = matrix.metrics(None, Some(&[0.9]), &[3]).unwrap();
        assert_eq!([m.bwt, m.fwt, m.forgetting, m.forgetting_clipped, m.forgetting_first], [0.0; 5]);
        assert!((m.intransigence - 0.2).abs() < 1e-12);
        let trace = trace_metrics(&[0.1, 0.4, 0.6], &[1]).unwrap();
        assert_eq!((trace.wc_acc, trace.avg_acc, trace.forgetting), (0.6, 0.6, 0.0));
        assert!(trace.min_acc.is_nan());
    }

    #[test]
    fn what_was_not_measured_stays_unknown() {
        let mut matrix = AccuracyMatrix::new(2);
        matrix.set(0, 0, 0.5);
        matrix.set(1, 0, 0.25);
        matrix.set(1, 1, 1.0);
        let m = matrix.metrics(Some(&[0.1, 0.1]), None, &[10, 0]).unwrap();
        assert!(m.fwt.is_nan() && m.intransigence.is_nan());
        assert_eq!((m.forgetting, m.avg_acc, m.avg_acc_weighted), (0.25, 0.625, 0.25));
        matrix.set(1, 1, f64::NAN);
        let m = matrix.metrics(None, None, &[10, 0]).unwrap();
        assert!(m.worst_final.is_nan() && m.avg_acc.is_nan());
        assert_eq!(m.avg_acc_weighted, 0.25, "a task without samples has no weight");
    }

    #[test]
    fn wrong_shapes_are_refused() {
        assert!(AccuracyMatrix::from_rows(2, vec![0.5; 3]).is_err());
        let matrix = AccuracyMatrix::new(2);
        assert!(matrix.metrics(Some(&[0.0]), None, &[1, 1]).is_err());
        assert!(matrix.metrics(None, None, &[1]).is_err());
        assert!(matrix.metrics(None, None, &[1, -1]).is_err());
        assert!(trace_metrics(&[0.5; 6], &[2, 1]).is_err());
        assert!(trace_metrics(&[0.5; 6], &[1, 3]).is_err());
        assert!(trace_metrics(&[0.5; 5], &[0, 1]).is_err());
    }
}
