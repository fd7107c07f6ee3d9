//! Elastic weight consolidation: penalty lambda sum F (theta - theta*)^2 ([`crate::continual::anchor`]). F of a task is the
//! mean over its mini-batches of the squared gradient of the batch-mean loss (ground-truth labels, evaluation mode); with
//! batches of one sample it is the per-sample Fisher. Online: one anchor at the weights after the last task, F averaged over
//! all tasks. Separate: an anchor and an F for each task, whose penalties add up.

use anyhow::Result;
use tch::Tensor;

use crate::continual::anchor::Importance;
use crate::continual::memory_gradient::{Mode, memory_gradient};
use crate::continual::protocol::Task;

/// Sums squared gradients, one batch at a time.
pub struct FisherSum {
    sum: Tensor,
    batches: usize,
}

impl FisherSum {
    /// For gradients of the shape of `like`.
    pub fn new(like: &Tensor) -> FisherSum {
        FisherSum { sum: like.zeros_like(), batches: 0 }
    }

    /// Adds the gradient of one batch's mean loss.
    pub fn add(&mut self, grad: &Tensor) {
        self.sum += grad.square();
        self.batches += 1;
    }

    /// F_new: the mean over the batches added (at least one).
    pub fn mean(&self) -> Tensor {
        &self.sum / self.batches as f64
    }
}

/// F = (c F_old + F_new) / (c + 1), c the number of tasks that `old` averages over.
pub fn merge(old: &Tensor, new: &Tensor, tasks_so_far: usize) -> Tensor {
    let c = tasks_so_far as f64;
    (old * c + new) / (c + 1.0)
}

/// Importance is the Fisher information.
pub struct Fisher {
    /// Samples of a mini-batch.
    pub batch: usize,
    pub separate: bool,
}

impl Importance for Fisher {
    fn name(&self) -> &'static str {
        "ewc"
    }

    fn separate(&self) -> bool {
        self.separate
    }

    fn measure(&mut self, task: &Task, before: Option<&Tensor>) -> Result<Tensor> {
        let store = &task.net.store;
        let leaves = store.trainable();
        let mut sum: Option<FisherSum> = None;
        for batch in task.train.batches(self.batch) {
            let (samples, seen) = ((batch.x, batch.y), task.index + 1);
            let grad = memory_gradient(&*task.net.model, store, &leaves, &samples, (task.output, seen), Mode::Eval)?;
            sum.get_or_insert_with(|| FisherSum::new(&grad)).add(&grad);
        }
        let new = sum.expect("every task has training samples").mean();
        Ok(before.map_or_else(|| new.shallow_clone(), |before| merge(before, &new, task.index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn merging_task_by_task_is_the_mean_over_tasks() {
        let grads = Tensor::randn([3, 2, 5], (Kind::Double, Device::Cpu));
        let mut fisher = Tensor::zeros([5], (Kind::Double, Device::Cpu));
        for task in 0..3 {
            let mut sum = FisherSum::new(&fisher);
            sum.add(&grads.get(task).get(0));
            sum.add(&grads.get(task).get(1));
            fisher = merge(&fisher, &sum.mean(), task as usize);
        }
        let mean = grads.square().flatten(0, 1).mean_dim(0i64, false, Kind::Double);
        assert!(fisher.allclose(&mean, 1e-12, 0.0, false));
    }
}
