//! A memory of samples that is filled at task ends and replayed while later tasks are learnt, and the loss of its samples.

use anyhow::Result;
use std::collections::HashMap;
use std::ops::Range;
use tch::{Device, Tensor};

use super::memory::{Memory, Rule};
use super::memory_gradient::{Mode, memory_gradient};
use super::output::Output;
use super::protocol::Task;
use super::stream::Scenario;
use super::tasks::Tasks;
use crate::params::ParamId;
use crate::train::Step;

/// Samples handed to the memory at a time.
const PIECE: usize = 4096;

/// Inputs `[B, ...]` and labels `[B]`.
pub type Replayed = (Tensor, Tensor);

pub struct Replay<'a> {
    output: &'a Output,
    memory: Memory,
    /// Tasks started so far.
    seen: usize,
}

impl<'a> Replay<'a> {
    /// At most `capacity` samples in equal shares for each class; for each class of each task where tasks share their
    /// labels.
    pub fn balanced(tasks: &'a Tasks, capacity: usize, seed: u64, device: Device) -> Result<Replay<'a>> {
        let classes = tasks.output.width() as usize;
        let rule = match tasks.output.scenario() {
            Scenario::DomainIncremental => Rule::TaskAndClassBalanced { tasks: tasks.stream.tasks(), classes },
            _ => Rule::ClassBalanced { classes },
        };
        Ok(Replay { output: &tasks.output, memory: Memory::new(rule, capacity, seed, device)?, seen: 0 })
    }

    /// At most `capacity` samples, the first ones of each task.
    pub fn first_of_each_task(tasks: &'a Tasks, capacity: usize, seed: u64, device: Device) -> Result<Replay<'a>> {
        let rule = Rule::FirstPerTask { tasks: tasks.stream.tasks() };
        Ok(Replay { output: &tasks.output, memory: Memory::new(rule, capacity, seed, device)?, seen: 0 })
    }

    /// Samples held.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// Samples held of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        self.memory.class_counts(self.output.width() as usize)
    }

    /// `task` is learnt from now on.
    pub fn start(&mut self, task: &Task) {
        self.seen = task.index + 1;
    }

    /// The tasks of which the memory holds samples: those before the current one (none in the first state of a fresh run).
    pub fn old_tasks(&self) -> Range<usize> {
        0..if self.is_empty() { 0 } else { self.seen - 1 }
    }

    /// Offers all training samples of a task, not augmented, in their order.
    pub fn fill(&mut self, task: &Task) -> Result<()> {
        for batch in task.train.batches(PIECE) {
            let labels = Vec::<i64>::try_from(batch.y.to_device(Device::Cpu))?;
            self.memory.offer(task.index, &labels, &[("x", &batch.x), ("y", &batch.y)])?;
        }
        Ok(())
    }

    fn get(&self, slots: &Tensor) -> Result<Replayed> {
        Ok((self.memory.get("x", slots)?, self.memory.get("y", slots)?))
    }

    /// A batch for a step, a pure function of (contents, seed, step).
    pub fn draw(&self, size: usize, step: u64) -> Result<Replayed> {
        self.get(&self.memory.draw(size, step)?)
    }

    /// All samples of a task.
    pub fn of_task(&self, task: usize) -> Result<Replayed> {
        self.get(&self.memory.slots_of_task(task))
    }

    /// Mean cross entropy of replayed samples' logits, over the columns in use.
    pub fn cross_entropy(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        self.output.cross_entropy(logits, labels, self.seen)
    }

    /// The flat gradient `[P]` of that loss with respect to `leaves`, in training mode.
    pub fn gradient(&self, step: &Step, leaves: &[ParamId], samples: &Replayed) -> Result<Tensor> {
        memory_gradient(step.model, step.store, leaves, samples, (self.output, self.seen), Mode::Train)
    }

    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.memory.state()
    }

    pub fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let mut list: Vec<(String, Tensor)> = state.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect();
        // The memory keeps its fields in the order they came in: x, then y.
        list.sort_by(|a, b| a.0.cmp(&b.0));
        self.memory.load_state(&list)
    }
}
