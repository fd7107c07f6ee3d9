//! Synaptic intelligence (Zenke, Poole, Ganguli 2017): how much each weight's path has lowered the loss is its
//! importance. Penalty c sum Omega (theta - theta*)^2 with theta* the weights after the last task
//! ([`crate::continual::anchor`]).

use anyhow::{Context, Result};
use std::collections::HashMap;
use tch::{Tensor, no_grad};

use crate::continual::anchor::Importance;
use crate::continual::flat;
use crate::continual::protocol::Task;
use crate::native::foreach;
use crate::params::ParamStore;

/// w += -g dtheta, in place and at every step, tensor by tensor: `grads` of the task loss alone, `steps` what the optimizer
/// really changed.
pub fn follow(path: &[Tensor], grads: &[Tensor], steps: &[Tensor]) -> Result<()> {
    foreach::addcmul_(path, grads, steps, -1.0)
}

/// Omega + max(0, w / ((theta - theta_start)^2 + xi)) at the end of a task; `moved` = theta - theta_start. The path
/// then starts anew at 0.
pub fn consolidate(omega: &Tensor, path: &Tensor, moved: &Tensor, xi: f64) -> Tensor {
    omega + (path / (moved.square() + xi)).clamp_min(0.0)
}

/// Importance is the path integral of the new task's gradient.
pub struct Path {
    xi: f64,
    /// w and theta at the start of the task, flat.
    path: Tensor,
    start: Tensor,
    /// theta before the step under way, then the step; it and `path` in the shapes of the trainable tensors.
    step: Vec<Tensor>,
    path_pieces: Vec<Tensor>,
    /// The unregularized gradient of the step under way.
    gradient: Vec<Option<Tensor>>,
}

impl Path {
    pub fn new(store: &ParamStore, xi: f64) -> Path {
        let start = flat::parameters(store);
        let (path, step) = (start.zeros_like(), start.zeros_like());
        let like: Vec<&Tensor> = store.trainable().iter().map(|&id| store.get(id)).collect();
        let (step, path_pieces) = (flat::unflatten(&step, &like), flat::unflatten(&path, &like));
        Path { xi, path, start, step, path_pieces, gradient: Vec::new() }
    }
}

impl Importance for Path {
    fn name(&self) -> &'static str {
        "si"
    }

    fn task_start(&mut self, store: &ParamStore) {
        self.start = flat::parameters(store);
        let _ = self.path.zero_();
    }

    fn gradient(&mut self, gradient: &[Option<Tensor>], store: &ParamStore) {
        self.gradient = gradient.iter().map(|grad| grad.as_ref().map(Tensor::shallow_clone)).collect();
        for (before, id) in self.step.iter_mut().zip(store.trainable()) {
            before.copy_(store.get(id));
        }
    }

    fn update(&mut self, store: &ParamStore) -> Result<()> {
        let (mut path, mut grads, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        let pieces = self.path_pieces.iter().zip(&self.step).zip(store.trainable());
        for (((piece, step), id), grad) in pieces.zip(self.gradient.drain(..)) {
            let Some(grad) = grad else { continue };
            let _ = store.get(id).sub_out(step, step);
            path.push(piece.shallow_clone());
            grads.push(grad);
            steps.push(step.shallow_clone());
        }
        follow(&path, &grads, &steps)
    }

    fn measure(&mut self, task: &Task, before: Option<&Tensor>) -> Result<Tensor> {
        let omega = before.map_or_else(|| self.path.zeros_like(), Tensor::shallow_clone);
        let moved = flat::parameters(&task.net.store) - &self.start;
        Ok(consolidate(&omega, &self.path, &moved, self.xi))
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        vec![("path".into(), self.path.shallow_clone()), ("start".into(), self.start.shallow_clone())]
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        for (name, own) in [("path", &mut self.path), ("start", &mut self.start)] {
            let stored = state.get(name).with_context(|| format!("the checkpoint has no si.{name}"))?;
            no_grad(|| own.copy_(stored));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_quadratic_the_path_is_the_fall_of_the_loss() {
        // Loss theta^2 / 2, many small steps from 1 to 0.5: w is about 1/2 - 1/8.
        let (path, mut theta) = (Tensor::from_slice(&[0.0]), Tensor::from_slice(&[1.0]));
        for _ in 0..1000 {
            let step = Tensor::from_slice(&[-0.0005]);
            follow(&[path.shallow_clone()], &[theta.shallow_clone()], &[step.shallow_clone()]).unwrap();
            theta += &step;
        }
        assert!((path.double_value(&[0]) - 0.375).abs() < 1e-3);
        let omega = consolidate(&path.zeros_like(), &path, &(&theta - 1.0), 0.25);
        assert!((omega.double_value(&[0]) - path.double_value(&[0]) / 0.5).abs() < 1e-9);
        assert_eq!(consolidate(&omega, &-path, &(theta - 1.0), 0.25), omega, "harm is no importance");
    }
}
