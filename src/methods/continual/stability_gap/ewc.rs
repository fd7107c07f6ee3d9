//! Online elastic weight consolidation: penalty lambda sum F (theta - theta*)^2 with theta* the weights after the last
//! task ([`crate::continual::anchor`]). F of a task is the mean over its mini-batches of the squared gradient of the
//! batch-mean loss (ground-truth labels, evaluation mode); with batches of one sample it is the per-sample Fisher.

use anyhow::Result;
use std::collections::HashMap;
use tch::Tensor;

use super::memory_gradient::{self, Mode};
use crate::continual::anchor::Anchor;
use crate::continual::flat;
use crate::continual::protocol::{Learner, Task};
use crate::continual::tasks::Tasks;
use crate::models::Network;
use crate::params::ParamId;
use crate::train::{Doors, Pass, Step, Terms};

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

/// What weighs the pull.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// The Fisher information: squares of the mean gradients of batches of this size.
    Fisher { batch: usize },
    /// 1 everywhere: the L2 anchor.
    One,
}

/// The learner.
pub struct Ewc<'a> {
    tasks: &'a Tasks,
    net: &'a Network,
    lambda: f64,
    importance: Importance,
    task: usize,
    anchor: Option<Anchor>,
}

impl<'a> Ewc<'a> {
    pub fn new(tasks: &'a Tasks, net: &'a Network, lambda: f64, importance: Importance) -> Ewc<'a> {
        Ewc { tasks, net, lambda, importance, task: 0, anchor: None }
    }

    /// F of the task that has ended, merged into that of the tasks before.
    fn fisher(&self, task: &Task, batch: usize) -> Result<Tensor> {
        let store = &self.net.store;
        let leaves = store.trainable();
        let mut sum: Option<FisherSum> = None;
        for batch in task.train.batches(batch) {
            let loss = |logits: &Tensor| self.tasks.output.cross_entropy(logits, &batch.y, task.index + 1);
            let grad = memory_gradient::of(&*self.net.model, store, &leaves, &batch.x, Mode::Eval, loss)?;
            sum.get_or_insert_with(|| FisherSum::new(&grad)).add(&grad);
        }
        let new = sum.expect("every task has training samples").mean();
        Ok(match &self.anchor {
            Some(anchor) => merge(&anchor.importance, &new, task.index),
            None => new,
        })
    }
}

impl Doors for Ewc<'_> {
    fn name(&self) -> &'static str {
        "ewc"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["ce", "penalty"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let ce = self.tasks.output.cross_entropy(pass.logits, &pass.batch.y, self.task + 1);
        let penalty = self.anchor.as_ref().map_or_else(|| ce.detach().zeros_like(), |a| a.penalty(step.store));
        terms.add("ce", ce);
        terms.add("penalty", penalty);
        Ok(())
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        if let Some(anchor) = &self.anchor {
            anchor.pull(step, leaves, grads);
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.anchor.as_ref().map_or(Vec::new(), Anchor::state)
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.anchor = Anchor::load(state, &self.net.store, self.lambda)?;
        Ok(())
    }
}

impl Learner for Ewc<'_> {
    fn task_start(&mut self, task: &Task) -> Result<()> {
        self.task = task.index;
        Ok(())
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        let importance = match self.importance {
            Importance::Fisher { batch } => self.fisher(task, batch)?,
            Importance::One => flat::parameters(&self.net.store).ones_like(),
        };
        self.anchor = Some(Anchor::here(&self.net.store, importance, self.lambda));
        Ok(())
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
