//! Experience replay: L = alpha CE(new batch) + (1 - alpha) CE(memory batch). With an empty memory the new loss has
//! weight 1.

use anyhow::{Context, Result};
use std::collections::HashMap;
use tch::Tensor;

use crate::continual::protocol::{Learner, Task};
use crate::continual::replay::Replay;
use crate::train::{Doors, Pass, Step, Terms};

/// alpha and 1 - alpha; 1 and 1 while there is nothing to replay.
fn weights(alpha: f64, replayed: bool) -> (f64, f64) {
    if replayed { (alpha, 1.0 - alpha) } else { (1.0, 1.0) }
}

/// Both weighted parts of the loss, 0-d, of the cross entropies of the new and of the memory batch; their sum is what is
/// descended on. Without a memory batch the second part is 0.
pub fn parts(new: &Tensor, memory: Option<&Tensor>, alpha: f64) -> [Tensor; 2] {
    let (on_new, on_memory) = weights(alpha, memory.is_some());
    [new * on_new, memory.map_or_else(|| new.detach().zeros_like(), |memory| memory * on_memory)]
}

/// The learner: a memory batch as large as the new one at every step.
pub struct Er<'a> {
    alpha: f64,
    replay: Replay<'a>,
}

impl<'a> Er<'a> {
    pub fn new(alpha: f64, replay: Replay<'a>) -> Er<'a> {
        Er { alpha, replay }
    }
}

impl Doors for Er<'_> {
    fn name(&self) -> &'static str {
        "er"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["memory"]
    }

    fn loss(&mut self, step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let memory = match self.replay.is_empty() {
            true => None,
            false => {
                let (x, y) = self.replay.draw(pass.batch.y.numel(), step.run_step)?;
                Some(self.replay.cross_entropy(&pass.forward(&x), &y))
            }
        };
        let new = terms.get("ce").context("replay weighs a loss term named ce")?;
        let [new, memory] = parts(new, memory.as_ref(), self.alpha);
        terms.replace("ce", new);
        terms.add("memory", memory);
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
        self.replay.start(task);
        Ok(())
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        self.replay.fill(task)
    }

    fn weights(&self) -> (f64, f64) {
        weights(self.alpha, !self.replay.is_empty())
    }

    fn memory(&self) -> Option<&Replay<'_>> {
        Some(&self.replay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_memory_leaves_the_new_loss_whole() {
        let (new, memory) = (Tensor::from(2.0), Tensor::from(4.0));
        let numbers = |parts: [Tensor; 2]| parts.map(|part| part.double_value(&[]));
        assert_eq!(numbers(parts(&new, None, 0.25)), [2.0, 0.0]);
        assert_eq!(numbers(parts(&new, Some(&memory), 0.25)), [0.5, 3.0]);
    }
}
