//! Experience replay: L = alpha CE(new batch) + (1 - alpha) CE(memory batch). With an empty memory the new loss has
//! weight 1.

use anyhow::Result;
use std::collections::HashMap;
use tch::Tensor;

use crate::continual::heads::cross_entropy;
use crate::continual::protocol::{Learner, Task};
use crate::continual::replay::Replay;
use crate::continual::tasks::Tasks;
use crate::train::{Doors, Pass, Step, Terms};

/// The two parts of the loss, 0-d, and their weights.
pub struct ErLoss {
    pub new: Tensor,
    /// 0 without a memory batch.
    pub memory: Tensor,
    pub weights: (f64, f64),
}

impl ErLoss {
    /// The weighted parts: their sum is the loss to descend on.
    pub fn terms(&self) -> [Tensor; 2] {
        [&self.new * self.weights.0, &self.memory * self.weights.1]
    }
}

/// Logits `[B, C]` and labels `[B]` of both batches, `alpha` the weight of the new one. A memory batch of no rows
/// counts as none. Logits that only some columns may answer come masked ([`crate::continual::heads`]).
pub fn loss(logits: &Tensor, labels: &Tensor, memory: Option<(&Tensor, &Tensor)>, alpha: f64) -> ErLoss {
    let new = cross_entropy(logits, labels);
    match memory.filter(|(_, labels)| labels.numel() > 0) {
        Some((memory_logits, memory_labels)) => {
            let memory = cross_entropy(memory_logits, memory_labels);
            ErLoss { new, memory, weights: (alpha, 1.0 - alpha) }
        }
        None => ErLoss { memory: new.zeros_like(), new, weights: (1.0, 0.0) },
    }
}

/// The learner: a memory batch as large as the new one at every step.
pub struct Er<'a> {
    tasks: &'a Tasks,
    alpha: f64,
    replay: Replay,
    task: usize,
}

impl<'a> Er<'a> {
    pub fn new(tasks: &'a Tasks, alpha: f64, replay: Replay) -> Er<'a> {
        Er { tasks, alpha, replay, task: 0 }
    }
}

impl Doors for Er<'_> {
    fn name(&self) -> &'static str {
        "er"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["ce", "memory"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let open = |logits: &Tensor, labels: &Tensor| self.tasks.output.open(logits, labels, self.task + 1);
        let labels = &pass.batch.y;
        let memory = match self.replay.is_empty() {
            true => None,
            false => {
                let (x, y) = self.replay.draw(labels.numel(), step.run_step)?;
                Some((open(&pass.forward(&x), &y), y))
            }
        };
        let er = loss(&open(pass.logits, labels), labels, memory.as_ref().map(|(logits, y)| (logits, y)), self.alpha);
        let [new, old] = er.terms();
        terms.add("ce", new);
        terms.add("memory", old);
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.replay.state()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.replay.load_state(state)
    }
}

impl Learner for Er<'_> {
    fn task_start(&mut self, task: &Task) -> Result<()> {
        self.task = task.index;
        Ok(())
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        self.replay.fill(task)
    }

    fn weights(&self) -> (f64, f64) {
        if self.replay.is_empty() { (1.0, 1.0) } else { (self.alpha, 1.0 - self.alpha) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn an_empty_memory_leaves_the_new_loss_whole() {
        let options = (Kind::Double, Device::Cpu);
        let (logits, labels) = (Tensor::randn([4, 3], options), Tensor::from_slice(&[0i64, 1, 2, 0]));
        let nothing = (Tensor::zeros([0, 3], options), Tensor::zeros([0], (Kind::Int64, Device::Cpu)));
        for memory in [None, Some((&nothing.0, &nothing.1))] {
            let er = loss(&logits, &labels, memory, 0.25);
            let [new, memory] = er.terms();
            assert_eq!((new, memory.double_value(&[])), (er.new, 0.0));
        }
        let er = loss(&logits, &labels, Some((&(&logits * 2.0), &labels)), 0.25);
        let parts = 0.25 * er.new.double_value(&[]) + 0.75 * er.memory.double_value(&[]);
        let [new, memory] = er.terms();
        assert!(((new + memory).double_value(&[]) - parts).abs() < 1e-12);
    }
}
