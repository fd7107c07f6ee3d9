//! Which columns of the head count. Labels are positions in the class order, so the columns of task t are a contiguous
//! range and the classes seen so far are a prefix; a head has all its columns from the start.

use anyhow::{Result, ensure};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Logits `[N, C]` with every column outside `columns` at -inf: those classes get probability 0 and gradient 0.
pub fn mask(logits: &Tensor, columns: Range<i64>) -> Tensor {
    let column = Tensor::arange(logits.size()[1], (Kind::Int64, logits.device()));
    let outside = column.lt(columns.start).logical_or(&column.ge(columns.end));
    logits.masked_fill(&outside, f64::NEG_INFINITY)
}

/// The task of every column, `[C]` int64: the table that [`mask_to_own_task`] reads. `edges` `[T+1]` as in a class
/// split; columns past the last edge belong to no task (-1).
pub fn column_tasks(edges: &[i64], columns: i64, device: Device) -> Tensor {
    let task = |column: i64| edges.windows(2).position(|e| (e[0]..e[1]).contains(&column)).map_or(-1, |t| t as i64);
    Tensor::from_slice(&(0..columns).map(task).collect::<Vec<i64>>()).to_device(device)
}

/// Logits `[N, C]` where each sample keeps only the columns of the task that its label belongs to: the multi-head
/// softmax of a batch that mixes tasks (replay in the task-incremental scenario). Nothing is read back to the host.
pub fn mask_to_own_task(logits: &Tensor, labels: &Tensor, column_tasks: &Tensor) -> Tensor {
    let own = column_tasks.index_select(0, labels).unsqueeze(1);
    logits.masked_fill(&column_tasks.unsqueeze(0).ne_tensor(&own), f64::NEG_INFINITY)
}

/// Mean cross entropy of logits `[N, C]` and labels `[N]` in the kind of the logits.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss::<Tensor>(labels, None, tch::Reduction::Mean, -100, 0.0)
}

/// The same over `columns` only: the current task's (local softmax) or all seen ones (global). Every label must lie in
/// `columns`.
pub fn cross_entropy_among(logits: &Tensor, labels: &Tensor, columns: Range<i64>) -> Tensor {
    cross_entropy(&logits.narrow(1, columns.start, columns.end - columns.start), &(labels - columns.start))
}

/// The predicted class `[N]` of logits `[N, C]` among `columns` (not empty); ties go to the lowest column.
pub fn predict(logits: &Tensor, columns: Range<i64>) -> Tensor {
    // max over a dimension promises the first of equal values, on every device.
    let (_, best) = logits.narrow(1, columns.start, columns.end - columns.start).max_dim(1, false);
    best + columns.start
}

/// Number of right predictions among `columns`: 0-d int64 on the device of the logits.
pub fn hits(logits: &Tensor, labels: &Tensor, columns: Range<i64>) -> Tensor {
    predict(logits, columns).eq_tensor(labels).sum(Kind::Int64)
}

/// Accuracies in two scenarios from one pass over the test samples of all seen tasks, accumulated on the device.
pub struct ScenarioHits {
    edges: Vec<i64>,
    /// Rows: class-incremental hits, task-incremental hits, samples; a column per seen task.
    counts: Tensor,
}

/// Accuracy by task in `[0, 1]`; 0 where a task has no samples.
pub struct ScenarioAccuracy {
    pub class_il: Vec<f64>,
    pub task_il: Vec<f64>,
    pub count: Vec<i64>,
}

impl ScenarioHits {
    /// `edges` `[T+1]`, ascending from 0; `seen` of the T tasks have been trained (at least one).
    pub fn new(edges: &[i64], seen: usize, device: Device) -> Result<ScenarioHits> {
        let rising = edges.first() == Some(&0) && edges.windows(2).all(|e| e[0] < e[1]);
        ensure!(rising, "edges must rise from 0, got {edges:?}");
        let tasks = edges.len() - 1;
        ensure!((1..=tasks).contains(&seen), "seen = {seen} must be between 1 and the number of tasks, {tasks}");
        let counts = Tensor::zeros([3, seen as i64], (Kind::Int64, device));
        Ok(ScenarioHits { edges: edges[..=seen].to_vec(), counts })
    }

    /// Adds a batch: logits `[N, C]` with C at least the last seen edge, labels `[N]`. Samples of unseen tasks are left
    /// out.
    pub fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let seen_columns = self.edges[self.edges.len() - 1];
        let columns = logits.size2()?.1;
        ensure!(columns >= seen_columns, "logits have {columns} columns, the seen tasks own {seen_columns}");
        ensure!(
            labels.size() == [logits.size()[0]],
            "labels {:?} do not fit logits {:?}",
            labels.size(),
            logits.size()
        );
        let class_right = predict(logits, 0..seen_columns).eq_tensor(labels);
        let by_task = self.edges.windows(2).map(|e| {
            let own = labels.ge(e[0]).logical_and(&labels.lt(e[1]));
            let task_right = predict(logits, e[0]..e[1]).eq_tensor(labels);
            let total = |flags: &Tensor| flags.sum(Kind::Int64);
            // A right prediction lies in the task's own columns, so only the first row needs to ask whose sample it is.
            Tensor::stack(&[total(&class_right.logical_and(&own)), total(&task_right), total(&own)], 0)
        });
        self.counts += Tensor::stack(&by_task.collect::<Vec<_>>(), 1);
        Ok(())
    }

    /// Reads the counts back to the host.
    pub fn accuracy(&self) -> Result<ScenarioAccuracy> {
        let rows = Vec::<Vec<i64>>::try_from(&self.counts.to_device(Device::Cpu))?;
        let share = |hits: &[i64]| hits.iter().zip(&rows[2]).map(|(&h, &n)| h as f64 / n.max(1) as f64).collect();
        Ok(ScenarioAccuracy { class_il: share(&rows[0]), task_il: share(&rows[1]), count: rows[2].clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn knowing_the_task_never_hurts() {
        let edges = [0, 3, 4, 8];
        let mut hits = ScenarioHits::new(&edges, 3, Device::Cpu).unwrap();
        // Whole-number logits: many ties.
        for _ in 0..4 {
            hits.add(&Tensor::randint(3, [50, 9], CPU), &Tensor::randint(8, [50], (Kind::Int64, Device::Cpu))).unwrap();
        }
        let accuracy = hits.accuracy().unwrap();
        assert_eq!(accuracy.count.iter().sum::<i64>(), 200);
        assert!(accuracy.class_il.iter().zip(&accuracy.task_il).all(|(cil, til)| til >= cil));
        assert_eq!(accuracy.task_il[1], 1.0, "a task of one class is always right");
    }

    #[test]
    fn ties_go_to_the_lowest_column_and_empty_tasks_count_zero() {
        let mut hits = ScenarioHits::new(&[0, 2, 4, 6], 2, Device::Cpu).unwrap();
        hits.add(&Tensor::zeros([3, 6], CPU), &Tensor::from_slice(&[2i64, 3, 5])).unwrap();
        let accuracy = hits.accuracy().unwrap();
        assert_eq!(accuracy.class_il, [0.0, 0.0]);
        assert_eq!(accuracy.task_il, [0.0, 0.5]);
        assert_eq!(accuracy.count, [0, 2]);
        assert!(ScenarioHits::new(&[0, 2], 2, Device::Cpu).is_err());
        assert!(ScenarioHits::new(&[0, 2, 2], 1, Device::Cpu).is_err());
    }

    #[test]
    fn masked_columns_have_no_probability_and_no_gradient() {
        let logits = Tensor::randn([5, 6], CPU).set_requires_grad(true);
        let labels = Tensor::from_slice(&[2i64, 3, 2, 3, 3]);
        let local = cross_entropy_among(&logits, &labels, 2..4);
        let masked = cross_entropy(&mask(&logits, 2..4), &labels);
        let own = mask_to_own_task(&logits, &labels, &column_tasks(&[0, 2, 4, 6], 6, Device::Cpu));
        assert!(local.allclose(&masked, 1e-12, 0.0, false));
        assert!(local.allclose(&cross_entropy(&own, &labels), 1e-12, 0.0, false));
        let grad = Tensor::run_backward(&[cross_entropy(&own, &labels)], &[&logits], false, false).remove(0);
        assert_eq!(grad.narrow(1, 0, 2).abs().sum(Kind::Double).double_value(&[]), 0.0);
        assert!(grad.narrow(1, 2, 2).abs().sum(Kind::Double).double_value(&[]) > 0.0);
    }
}
