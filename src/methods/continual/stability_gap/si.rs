//! Synaptic intelligence (Zenke, Poole, Ganguli 2017): how much each weight's path has lowered the loss is its
//! importance. Penalty c sum Omega (theta - theta*)^2 with theta* the weights after the last task
//! ([`crate::continual::anchor`]).

use anyhow::{Context, Result};
use std::collections::HashMap;
use tch::{Tensor, no_grad};

use crate::continual::anchor::Anchor;
use crate::continual::flat;
use crate::continual::protocol::{Learner, Task};
use crate::continual::tasks::Tasks;
use crate::models::Network;
use crate::params::ParamId;
use crate::train::{Doors, Pass, Step, Terms};

/// w += -g dtheta, in place and at every step: `grad` of the task loss alone, `step` what the optimizer really changed.
pub fn follow(path: &mut Tensor, grad: &Tensor, step: &Tensor) {
    *path -= grad * step;
}

/// Omega + max(0, w / ((theta - theta_start)^2 + xi)) at the end of a task; `moved` = theta - theta_start. The path
/// then starts anew at 0.
pub fn consolidate(omega: &Tensor, path: &Tensor, moved: &Tensor, xi: f64) -> Tensor {
    omega + (path / (moved.square() + xi)).clamp_min(0.0)
}

/// The learner.
pub struct Si<'a> {
    tasks: &'a Tasks,
    net: &'a Network,
    c: f64,
    xi: f64,
    task: usize,
    anchor: Option<Anchor>,
    /// w and theta at the start of the task, flat.
    path: Tensor,
    start: Tensor,
    /// The unregularized gradient of the step under way, and theta before it.
    step: Option<(Tensor, Tensor)>,
}

impl<'a> Si<'a> {
    pub fn new(tasks: &'a Tasks, net: &'a Network, c: f64, xi: f64) -> Si<'a> {
        let start = flat::parameters(&net.store);
        Si { tasks, net, c, xi, task: 0, anchor: None, path: start.zeros_like(), start, step: None }
    }
}

impl Doors for Si<'_> {
    fn name(&self) -> &'static str {
        "si"
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
        let tensors: Vec<&Tensor> = leaves.iter().map(|&id| step.store.get(id)).collect();
        self.step = Some(no_grad(|| (flat::gradient(grads, &tensors), flat::parameters(step.store))));
        if let Some(anchor) = &self.anchor {
            anchor.pull(step, leaves, grads);
        }
        Ok(())
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        if let Some((grad, before)) = self.step.take() {
            no_grad(|| follow(&mut self.path, &grad, &(flat::parameters(step.store) - before)));
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.anchor.as_ref().map_or(Vec::new(), Anchor::state);
        state.push(("path".into(), self.path.shallow_clone()));
        state.push(("start".into(), self.start.shallow_clone()));
        state
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.anchor = Anchor::load(state, &self.net.store, self.c)?;
        for (name, own) in [("path", &mut self.path), ("start", &mut self.start)] {
            let stored = state.get(name).with_context(|| format!("the checkpoint has no si.{name}"))?;
            no_grad(|| own.copy_(stored));
        }
        Ok(())
    }
}

impl Learner for Si<'_> {
    fn task_start(&mut self, task: &Task) -> Result<()> {
        self.task = task.index;
        self.start = flat::parameters(&task.net.store);
        self.path = self.start.zeros_like();
        Ok(())
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        let store = &task.net.store;
        let omega = self.anchor.as_ref().map_or_else(|| self.path.zeros_like(), |a| a.importance.shallow_clone());
        let moved = flat::parameters(store) - &self.start;
        self.anchor = Some(Anchor::here(store, consolidate(&omega, &self.path, &moved, self.xi), self.c));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_quadratic_the_path_is_the_fall_of_the_loss() {
        // Loss theta^2 / 2, many small steps from 1 to 0.5: w is about 1/2 - 1/8.
        let (mut path, mut theta) = (Tensor::from_slice(&[0.0]), Tensor::from_slice(&[1.0]));
        for _ in 0..1000 {
            let step = Tensor::from_slice(&[-0.0005]);
            follow(&mut path, &theta, &step);
            theta += &step;
        }
        assert!((path.double_value(&[0]) - 0.375).abs() < 1e-3);
        let omega = consolidate(&path.zeros_like(), &path, &(&theta - 1.0), 0.25);
        assert!((omega.double_value(&[0]) - path.double_value(&[0]) / 0.5).abs() < 1e-9);
        assert_eq!(consolidate(&omega, &-path, &(theta - 1.0), 0.25), omega, "harm is no importance");
    }
}
