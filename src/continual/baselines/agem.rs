//! A-GEM: one reference gradient r of a memory batch. If <g, r> < 0: g - (<g, r> / <r, r>) r, else g.

use anyhow::Result;
use std::collections::HashMap;
use tch::{Tensor, no_grad};

use crate::continual::flat;
use crate::continual::protocol::{Learner, Task};
use crate::continual::replay::Replay;
use crate::params::ParamId;
use crate::train::{Doors, Step};

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
    replay: Replay<'a>,
    /// Samples of the reference batch: as many as of the new one.
    batch: usize,
}

impl<'a> Agem<'a> {
    pub fn new(replay: Replay<'a>) -> Agem<'a> {
        Agem { replay, batch: 0 }
    }
}

impl Doors for Agem<'_> {
    fn name(&self) -> &'static str {
        "agem"
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        if self.replay.is_empty() {
            return Ok(());
        }
        let reference = self.replay.gradient(step, leaves, &self.replay.draw(self.batch, step.run_step)?)?;
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
        self.batch = task.batch;
        self.replay.start(task);
        Ok(())
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        self.replay.fill(task)
    }

    fn memory(&self) -> Option<&Replay<'_>> {
        Some(&self.replay)
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
