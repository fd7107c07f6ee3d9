//! A memory of samples that is filled at task ends and replayed while later tasks are learnt.

use anyhow::Result;
use std::collections::HashMap;
use tch::{Device, Tensor};

use super::memory::{Memory, Rule};
use super::protocol::Task;
use super::stream::Scenario;
use super::tasks::Tasks;

/// Samples handed to the memory at a time.
const PIECE: usize = 4096;

/// Inputs `[B, ...]` and labels `[B]`.
pub type Replayed = (Tensor, Tensor);

pub struct Replay {
    memory: Memory,
}

impl Replay {
    /// At most `capacity` samples in equal shares for each class; for each class of each task where tasks share their
    /// labels.
    pub fn balanced(tasks: &Tasks, capacity: usize, seed: u64, device: Device) -> Result<Replay> {
        let classes = tasks.output.width() as usize;
        let rule = match tasks.output.scenario() {
            Scenario::DomainIncremental => Rule::TaskAndClassBalanced { tasks: tasks.len(), classes },
            _ => Rule::ClassBalanced { classes },
        };
        Ok(Replay { memory: Memory::new(rule, capacity, seed, device)? })
    }

    /// At most `capacity` samples, the first ones of each task.
    pub fn first_of_each_task(tasks: &Tasks, capacity: usize, seed: u64, device: Device) -> Result<Replay> {
        let rule = Rule::FirstPerTask { tasks: tasks.len() };
        Ok(Replay { memory: Memory::new(rule, capacity, seed, device)? })
    }

    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
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
