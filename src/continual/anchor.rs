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
    /// 2 strength importance: what the distance to theta* is multiplied with.
    stiffness: Tensor,
}

/// Room for a step's numbers, `[P]` each: every step would otherwise ask the system for it anew, which costs more than the
/// arithmetic.
struct Room {
    moved: Tensor,
    pull: Tensor,
    /// `moved` and `pull` in the shapes of the trainable tensors.
    moved_pieces: Vec<Tensor>,
    pull_pieces: Vec<Tensor>,
}

impl Room {
    fn new(store: &ParamStore) -> Room {
        let like: Vec<&Tensor> = store.trainable().iter().map(|&id| store.get(id)).collect();
        let flat = || flat::parameters(store).zeros_like();
        let (moved, pull) = (flat(), flat());
        let (moved_pieces, pull_pieces) = (flat::unflatten(&moved, &like), flat::unflatten(&pull, &like));
        Room { moved, pull, moved_pieces, pull_pieces }
    }
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

    /// The gradient of the new task's loss alone, by trainable tensor, before the step.
    fn gradient(&mut self, _gradient: &[Option<Tensor>], _store: &ParamStore) {}

    /// After the optimizer's step.
    fn update(&mut self, _store: &ParamStore) -> Result<()> {
        Ok(())
    }

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
    room: Option<Room>,
}

impl<I: Importance> Anchored<I> {
    /// Anchors on `device`.
    pub fn new(importance: I, strength: f64, device: Device) -> Anchored<I> {
        Anchored { importance, strength, device, anchors: Vec::new(), room: None }
    }

    fn anchor(&self, theta: Tensor, importance: Tensor) -> Anchor {
        Anchor { theta, stiffness: &importance * (2.0 * self.strength), importance }
    }

    /// The penalty, 0-d; its gradient is left in the room. One pass over the weights gives both: gradient = stiffness
    /// (theta - theta*), penalty = gradient (theta - theta*) / 2.
    fn penalty(&mut self, store: &ParamStore) -> Option<Tensor> {
        let room = self.room.get_or_insert_with(|| Room::new(store));
        let leaves = store.trainable();
        let mut penalty: Option<Tensor> = None;
        for anchor in &self.anchors {
            for ((moved, &id), theta) in
                room.moved_pieces.iter().zip(&leaves).zip(flat::unflatten(&anchor.theta, &room.moved_pieces))
            {
                let _ = store.get(id).sub_out(moved, &theta);
            }
            let so_far = match penalty {
                None => {
                    let _ = room.moved.mul_out(&room.pull, &anchor.stiffness);
                    room.pull.dot(&room.moved)
                }
                Some(so_far) => {
                    let pull = &room.moved * &anchor.stiffness;
                    room.pull += &pull;
                    so_far + pull.dot(&room.moved)
                }
            };
            penalty = Some(so_far);
        }
        penalty.map(|twice| twice / 2.0)
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
        let none = || Tensor::zeros([], (Kind::Float, pass.logits.device()));
        terms.add("penalty", no_grad(|| self.penalty(step.store)).unwrap_or_else(none));
        Ok(())
    }

    fn grads(&mut self, step: &Step, _leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        no_grad(|| self.importance.gradient(grads, step.store));
        let Some(room) = self.room.as_ref().filter(|_| !self.anchors.is_empty()) else { return Ok(()) };
        no_grad(|| {
            for (grad, pull) in grads.iter_mut().zip(&room.pull_pieces) {
                // Into the room, not into the gradient: whoever holds that one keeps the new task's own.
                if let Some(own) = grad.replace(pull.shallow_clone()) {
                    let _ = pull.shallow_clone().g_add_(&own);
                }
            }
        });
        Ok(())
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        no_grad(|| self.importance.update(step.store))
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
            self.anchors.push(self.anchor(here(theta), here(importance)));
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
        self.anchors.push(self.anchor(flat::parameters(&task.net.store), importance));
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
            learner.anchors.push(learner.anchor(Tensor::randn([10], CPU), Tensor::rand([10], CPU)));
        }
        let theta = flat::parameters(&store);
        let sum = |f: fn(&Tensor, &Tensor, &Tensor, f64) -> Tensor| {
            learner.anchors.iter().map(|a| f(&theta, &a.theta, &a.importance, 3.0)).reduce(|a, b| a + b).unwrap()
        };
        let mut restored = Anchored::new(Given, 3.0, Device::Cpu);
        restored.load_state(&learner.state().into_iter().collect()).unwrap();
        let penalty = no_grad(|| restored.penalty(&store)).unwrap();
        let pull = &restored.room.as_ref().unwrap().pull;
        assert!(penalty.allclose(&sum(quadratic_penalty), 1e-12, 1e-12, false));
        assert!(pull.allclose(&sum(quadratic_penalty_grad), 1e-12, 1e-12, false));
    }
}
