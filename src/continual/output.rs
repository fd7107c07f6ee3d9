//! The head as the scenario uses it: which columns the loss of a batch compares, which may answer.

use std::ops::Range;
use tch::{Device, Tensor};

use super::config::Columns;
use super::heads::{column_tasks, cross_entropy, mask_to_own_task, predict};
use super::stream::{Scenario, Stream};

pub struct Output {
    scenario: Scenario,
    columns: Columns,
    /// `[T+1]`
    edges: Vec<i64>,
    width: i64,
    /// The task of every column.
    owners: Tensor,
}

impl Output {
    pub fn new(stream: &Stream, columns: Columns, device: Device) -> Output {
        let (edges, width) = (stream.edges().to_vec(), stream.head_width());
        Output { scenario: stream.scenario(), columns, owners: column_tasks(&edges, width, device), edges, width }
    }

    pub fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// `[T+1]`: the columns that each task owns in the class- and task-incremental scenarios.
    pub fn edges(&self) -> &[i64] {
        &self.edges
    }

    /// Columns of the head.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// The columns in use once `seen` tasks have been started.
    fn used(&self, seen: usize) -> i64 {
        match (self.scenario, self.columns) {
            (Scenario::ClassIncremental, Columns::Seen) => self.edges[seen],
            _ => self.width,
        }
    }

    /// Logits `[N, C]` with the columns that compete once `seen` tasks have been started. `labels` `[N]` may be of several
    /// tasks; task-incremental: each sample keeps the columns of its own task, the others are -inf.
    pub fn open(&self, logits: &Tensor, labels: &Tensor, seen: usize) -> Tensor {
        match self.scenario {
            Scenario::TaskIncremental => mask_to_own_task(logits, labels, &self.owners),
            _ if self.used(seen) == self.width => logits.shallow_clone(),
            _ => logits.narrow(1, 0, self.used(seen)),
        }
    }

    /// Mean cross entropy over the columns of [`Output::open`].
    pub fn cross_entropy(&self, logits: &Tensor, labels: &Tensor, seen: usize) -> Tensor {
        cross_entropy(&self.open(logits, labels, seen), labels)
    }

    /// The answers `[N]` to samples that may be of several tasks.
    pub fn answers(&self, logits: &Tensor, labels: &Tensor, seen: usize) -> Tensor {
        let open = self.open(logits, labels, seen);
        let columns = open.size()[1];
        predict(&open, 0..columns)
    }

    /// The columns that may answer a sample of `task`.
    pub fn answer_columns(&self, task: usize, seen: usize) -> Range<i64> {
        match self.scenario {
            Scenario::TaskIncremental => self.edges[task]..self.edges[task + 1],
            _ => 0..self.used(seen),
        }
    }

    /// The columns of a task's own labels.
    pub fn own_columns(&self, task: usize) -> Range<i64> {
        match self.scenario {
            Scenario::DomainIncremental => 0..self.width,
            _ => self.edges[task]..self.edges[task + 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::continual::config::StreamConfig;
    use tch::Kind;

    fn output(text: &str) -> Output {
        let config: StreamConfig = toml::from_str(text).unwrap();
        Output::new(&config.stream(6, 0).unwrap(), config.columns, Device::Cpu)
    }

    #[test]
    fn the_scenario_decides_who_competes() {
        let logits = Tensor::from_slice2(&[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]);
        let labels = Tensor::from_slice(&[0i64, 2]);
        let answers = |text: &str, seen| Vec::<i64>::try_from(output(text).answers(&logits, &labels, seen)).unwrap();
        assert_eq!(answers("tasks = 3", 2), [3, 3]);
        assert_eq!(answers("tasks = 3\ncolumns = \"all\"", 2), [5, 5]);
        assert_eq!(answers("tasks = 3\nscenario = \"task-incremental\"", 3), [1, 3]);
        assert_eq!(output("tasks = 3\nscenario = \"domain-incremental\"").width(), 2);
    }

    #[test]
    fn unseen_columns_get_no_gradient() {
        let logits = Tensor::randn([4, 6], (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let loss = output("tasks = 3").cross_entropy(&logits, &Tensor::from_slice(&[0i64, 1, 2, 3]), 2);
        let grad = Tensor::run_backward(&[loss], &[&logits], false, false).remove(0);
        assert_eq!(grad.narrow(1, 4, 2).abs().sum(Kind::Double).double_value(&[]), 0.0);
    }
}
