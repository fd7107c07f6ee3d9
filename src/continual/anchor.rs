//! The quadratic pull of regularization-based continual learning: strength * sum_p importance_p (theta_p - anchor_p)^2,
//! without a factor 1/2. The importance is the Fisher information (EWC), the path integral (SI) or 1 (L2 anchor).

use anyhow::{Context, Result};
use std::collections::HashMap;
use tch::{Tensor, no_grad};

use super::flat;
use crate::params::{ParamId, ParamStore};
use crate::train::Step;

/// The penalty, 0-d. All tensors have one shape; the gradient flows to `theta`.
pub fn quadratic_penalty(theta: &Tensor, anchor: &Tensor, importance: &Tensor, strength: f64) -> Tensor {
    (importance * (theta - anchor).square()).sum(theta.kind()) * strength
}

/// Its gradient with respect to `theta`: 2 strength importance (theta - anchor).
pub fn quadratic_penalty_grad(theta: &Tensor, anchor: &Tensor, importance: &Tensor, strength: f64) -> Tensor {
    importance * (theta - anchor) * (2.0 * strength)
}

/// The pull on all trainable tensors of a store, flat: theta* and the importance after the last task.
pub struct Anchor {
    pub theta: Tensor,
    pub importance: Tensor,
    strength: f64,
}

impl Anchor {
    /// At the store's present weights.
    pub fn here(store: &ParamStore, importance: Tensor, strength: f64) -> Anchor {
        Anchor { theta: no_grad(|| flat::parameters(store)), importance, strength }
    }

    /// The penalty's value, 0-d, for the log: its gradient is [`Anchor::pull`]'s, in closed form.
    pub fn penalty(&self, store: &ParamStore) -> Tensor {
        no_grad(|| quadratic_penalty(&flat::parameters(store), &self.theta, &self.importance, self.strength))
    }

    /// Adds the penalty's gradient to `grads`.
    pub fn pull(&self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) {
        let tensors: Vec<&Tensor> = leaves.iter().map(|&id| step.store.get(id)).collect();
        no_grad(|| {
            let theta = flat::parameters(step.store);
            let own = quadratic_penalty_grad(&theta, &self.theta, &self.importance, self.strength);
            flat::put(&(flat::gradient(grads, &tensors) + own), &tensors, grads);
        });
    }

    pub fn state(&self) -> Vec<(String, Tensor)> {
        vec![("theta".into(), self.theta.shallow_clone()), ("importance".into(), self.importance.shallow_clone())]
    }

    /// The anchor of a checkpoint on the store's device; `None` if it was written before the first task's end.
    pub fn load(state: &HashMap<String, Tensor>, store: &ParamStore, strength: f64) -> Result<Option<Anchor>> {
        let Some(theta) = state.get("theta") else { return Ok(None) };
        let importance = state.get("importance").context("the checkpoint has no importance beside theta")?;
        let here = |tensor: &Tensor| tensor.to_device(store.device());
        Ok(Some(Anchor { theta: here(theta), importance: here(importance), strength }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn the_gradient_is_that_of_the_penalty_and_vanishes_at_the_anchor() {
        let options = (Kind::Double, tch::Device::Cpu);
        let theta = Tensor::randn([7], options).set_requires_grad(true);
        let (anchor, importance) = (Tensor::randn([7], options), Tensor::rand([7], options));
        let penalty = quadratic_penalty(&theta, &anchor, &importance, 3.0);
        let auto = Tensor::run_backward(&[penalty], &[&theta], false, false).remove(0);
        assert!(auto.allclose(&quadratic_penalty_grad(&theta, &anchor, &importance, 3.0), 1e-12, 1e-12, false));
        assert_eq!(quadratic_penalty(&anchor, &anchor, &importance, 3.0).double_value(&[]), 0.0);
    }
}
