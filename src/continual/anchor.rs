//! The quadratic pull of regularization-based continual learning: strength * sum_p importance_p (theta_p - anchor_p)^2,
//! without a factor 1/2. The importance is the Fisher information (EWC), the path integral (SI) or 1 (L2 anchor): a method
//! says how it is measured ([`Importance`]), [`Anchored`] is the learner that does the rest.

use anyhow::{Context, Result};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor, no_grad};

use super::flat;
use super::protocol::{Learner, Task};
use crate::params::{ParamId, ParamStore};
use crate::train::{Doors, Pass, Step, Terms};

/// The penalty, 0-d. All tensors have one shape; the gradient flows to `theta`.
pub fn quadratic_penalty(theta: &Tensor, anchor: &Tensor, importance: &Tensor, strength: f64) -> Tensor {
    (importance * (theta - anchor).square()).sum(theta.kind()) * strength
}

/// Its gradient with respect to `theta`: 2 strength importance (theta - anchor).
pub fn quadratic_penalty_grad(theta: &Tensor, anchor: &Tensor, importance: &Tensor, strength: f64) -> Tensor {
    importance * (theta - anchor) * (2.0 * strength)
}

/// theta* and the importance of every weight, flat over the trainable tensors of a store.
struct Anchor {
    theta: Tensor,
    importance: Tensor,
}

/// How important each weight was to the tasks that have ended. State and doors are those of [`Doors`].
pub trait Importance {
    /// The learner's name, the prefix of its part of a checkpoint.
    fn name(&self) -> &'static str;

    /// The importance `[P]` after a task, measured at its end; `before`: the last one, to merge with (none after the first
    /// task, and never where anchors are [`Importance::separate`]).
    fn measure(&mut self, task: &Task, before: Option<&Tensor>) -> Result<Tensor>;

    /// Whether every task keeps an anchor of its own, and the penalty is the sum over them.
    fn separate(&self) -> bool {
        false
    }

    fn task_start(&mut self, _store: &ParamStore) {}

    /// The gradient of the new task's loss alone, flat, and the weights before the step.
    fn gradient(&mut self, _gradient: Tensor, _store: &ParamStore) {}

    /// After the optimizer's step.
    fn update(&mut self, _store: &ParamStore) {}

    fn state(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    fn load_state(&mut self, _state: &HashMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}

/// The learner: the penalty strength * sum importance (theta - theta*)^2, theta* the weights after the last task, or its sum
/// over all old tasks. Its gradient is added in closed form: the penalty is no part of the backward pass.
pub struct Anchored<I> {
    importance: I,
    strength: f64,
    device: Device,
    anchors: Vec<Anchor>,
    /// The penalty's gradient in the step under way.
    pull: Option<Tensor>,
}

impl<I: Importance> Anchored<I> {
    /// Anchors on `device`.
    pub fn new(importance: I, strength: f64, device: Device) -> Anchored<I> {
        Anchored { importance, strength, device, anchors: Vec::new(), pull: None }
    }

    /// The penalty, 0-d, and its gradient `[P]`; one pass over the weights gives both. With factors of 2 strength left to
    /// the end: gradient = importance (theta - theta*), penalty = gradient (theta - theta*).
    fn penalty(&self, store: &ParamStore) -> Option<(Tensor, Tensor)> {
        let theta = flat::parameters(store);
        let one = |anchor: &Anchor| {
            let moved = &theta - &anchor.theta;
            let pull = &moved * &anchor.importance;
            (pull.dot(&moved), pull)
        };
        let (penalty, pull) = self.anchors.iter().map(one).reduce(|a, b| (a.0 + b.0, a.1 + b.1))?;
        Some((penalty * self.strength, pull * (2.0 * self.strength)))
    }
}

impl<I: Importance> Doors for Anchored<I> {
    fn name(&self) -> &'static str {
        self.importance.name()
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["penalty"]
    }

    fn loss(&mut self, step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let (penalty, pull) = match no_grad(|| self.penalty(step.store)) {
            Some((penalty, pull)) => (penalty, Some(pull)),
            None => (Tensor::zeros([], (Kind::Float, pass.logits.device())), None),
        };
        self.pull = pull;
        terms.add("penalty", penalty);
        Ok(())
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        let tensors: Vec<&Tensor> = leaves.iter().map(|&id| step.store.get(id)).collect();
        no_grad(|| {
            let own = flat::gradient(grads, &tensors);
            if let Some(pull) = self.pull.take() {
                flat::put(&(&own + pull), &tensors, grads);
            }
            self.importance.gradient(own, step.store);
        });
        Ok(())
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        no_grad(|| self.importance.update(step.store));
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let anchors = self.anchors.iter().enumerate().flat_map(|(n, anchor)| {
            [
                (format!("theta{n}"), anchor.theta.shallow_clone()),
                (format!("importance{n}"), anchor.importance.shallow_clone()),
            ]
        });
        anchors.chain(self.importance.state()).collect()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.anchors.clear();
        while let Some(theta) = state.get(&format!("theta{}", self.anchors.len())) {
            let name = format!("importance{}", self.anchors.len());
            let importance = state.get(&name).with_context(|| format!("the checkpoint has a theta but no {name}"))?;
            let here = |tensor: &Tensor| tensor.to_device(self.device);
            self.anchors.push(Anchor { theta: here(theta), importance: here(importance) });
        }
        self.importance.load_state(state)
    }
}

impl<I: Importance> Learner for Anchored<I> {
    fn task_start(&mut self, task: &Task) -> Result<()> {
        self.importance.task_start(&task.net.store);
        Ok(())
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        let separate = self.importance.separate();
        let before = self.anchors.last().filter(|_| !separate).map(|anchor| &anchor.importance);
        let importance = self.importance.measure(task, before)?;
        if !separate {
            self.anchors.clear();
        }
        self.anchors.push(Anchor { theta: flat::parameters(&task.net.store), importance });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Role;

    struct Given;

    impl Importance for Given {
        fn name(&self) -> &'static str {
            "given"
        }

        fn measure(&mut self, _task: &Task, _before: Option<&Tensor>) -> Result<Tensor> {
            unreachable!("the anchors are given")
        }
    }

    const CPU: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn the_gradient_is_that_of_the_penalty_and_vanishes_at_the_anchor() {
        let theta = Tensor::randn([7], CPU).set_requires_grad(true);
        let (anchor, importance) = (Tensor::randn([7], CPU), Tensor::rand([7], CPU));
        let penalty = quadratic_penalty(&theta, &anchor, &importance, 3.0);
        let auto = Tensor::run_backward(&[penalty], &[&theta], false, false).remove(0);
        assert!(auto.allclose(&quadratic_penalty_grad(&theta, &anchor, &importance, 3.0), 1e-12, 1e-12, false));
        assert_eq!(quadratic_penalty(&anchor, &anchor, &importance, 3.0).double_value(&[]), 0.0);
    }

    #[test]
    fn anchors_of_several_tasks_add_up_and_survive_a_checkpoint() {
        let mut store = ParamStore::new(Device::Cpu);
        store.add("w", Role::Weight, Tensor::randn([2, 3], CPU));
        store.add("b", Role::Bias, Tensor::randn([4], CPU));
        let mut learner = Anchored::new(Given, 3.0, Device::Cpu);
        assert!(learner.penalty(&store).is_none(), "no anchor, no pull");
        for _ in 0..2 {
            learner.anchors.push(Anchor { theta: Tensor::randn([10], CPU), importance: Tensor::rand([10], CPU) });
        }
        let theta = flat::parameters(&store);
        let sum = |f: fn(&Tensor, &Tensor, &Tensor, f64) -> Tensor| {
            learner.anchors.iter().map(|a| f(&theta, &a.theta, &a.importance, 3.0)).reduce(|a, b| a + b).unwrap()
        };
        let mut restored = Anchored::new(Given, 3.0, Device::Cpu);
        restored.load_state(&learner.state().into_iter().collect()).unwrap();
        let (penalty, pull) = restored.penalty(&store).unwrap();
        assert!(penalty.allclose(&sum(quadratic_penalty), 1e-12, 1e-12, false));
        assert!(pull.allclose(&sum(quadratic_penalty_grad), 1e-12, 1e-12, false));
    }
}
