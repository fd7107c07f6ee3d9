//! A-GEM: one reference gradient r of a memory batch. If <g, r> < 0: g - (<g, r> / <r, r>) r, else g.

use anyhow::Result;
use std::collections::HashMap;
use tch::{Tensor, no_grad};

use super::memory_gradient::{self, Mode};
use crate::continual::flat;
use crate::continual::protocol::{Learner, Task};
use crate::continual::replay::Replay;
use crate::continual::tasks::Tasks;
use crate::params::ParamId;
use crate::train::{Doors, Pass, Step, Terms};

/// The projected gradient `[P]` and whether it was projected (0-d bool), without a read back to the host.
pub fn project(grad: &Tensor, reference: &Tensor) -> (Tensor, Tensor) {
    let product = grad.dot(reference);
    let conflict = product.lt(0.0);
    // Chosen, not multiplied: a reference of zeros gives 0 / 0, which must not spread.
    let scale = (&product / reference.dot(reference)).where_self(&conflict, &product.zeros_like());
    (grad - scale * reference, conflict)
}

/// The learner.
pub struct Agem<'a> {
    tasks: &'a Tasks,
    replay: Replay,
    task: usize,
    /// Samples of the reference batch: as many as of the new one.
    batch: usize,
}

impl<'a> Agem<'a> {
    pub fn new(tasks: &'a Tasks, replay: Replay) -> Agem<'a> {
        Agem { tasks, replay, task: 0, batch: 0 }
    }
}

impl Doors for Agem<'_> {
    fn name(&self) -> &'static str {
        "agem"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["ce"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        terms.add("ce", self.tasks.output.cross_entropy(pass.logits, &pass.batch.y, self.task + 1));
        Ok(())
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        if self.replay.is_empty() {
            return Ok(());
        }
        let (x, y) = self.replay.draw(self.batch, step.run_step)?;
        let loss = |logits: &Tensor| self.tasks.output.cross_entropy(logits, &y, self.task + 1);
        let reference = memory_gradient::of(step.model, step.store, leaves, &x, Mode::Train, loss)?;
        let tensors: Vec<&Tensor> = leaves.iter().map(|&id| step.store.get(id)).collect();
        let (projected, _) = no_grad(|| project(&flat::gradient(grads, &tensors), &reference));
        flat::put(&projected, &tensors, grads);
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.replay.state()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.replay.load_state(state)
    }
}

impl Learner for Agem<'_> {
    fn task_start(&mut self, task: &Task) -> Result<()> {
        (self.task, self.batch) = (task.index, task.batch);
        Ok(())
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        self.replay.fill(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn the_projected_gradient_is_orthogonal_and_others_are_untouched() {
        for _ in 0..10 {
            let options = (Kind::Double, Device::Cpu);
            let (grad, reference) = (Tensor::randn([9], options), Tensor::randn([9], options));
            let (projected, conflict) = project(&grad, &reference);
            if conflict.int64_value(&[]) == 1 {
                assert!(projected.dot(&reference).double_value(&[]).abs() < 1e-12);
            } else {
                assert_eq!(projected, grad);
            }
            assert_eq!(project(&grad, &-&grad).1.int64_value(&[]), 1);
        }
    }

    #[test]
    fn a_zero_product_is_no_conflict() {
        let grad = Tensor::from_slice(&[1.0, 2.0]);
        for reference in [[0.0, 0.0], [-2.0, 1.0]] {
            let (projected, conflict) = project(&grad, &Tensor::from_slice(&reference));
            assert_eq!((projected, conflict.int64_value(&[])), (grad.shallow_clone(), 0));
        }
    }
}
