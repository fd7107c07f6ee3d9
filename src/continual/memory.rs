//! Replay buffers. Samples fall into groups (all, a class, a class of a task, a task); every group has a fixed and
//! equal share of the slots, which it fills first and then keeps a uniform random choice of all it was offered
//! (reservoir sampling), or keeps as it is (first per task). What a slot holds is the caller's: sample indices, pixels,
//! labels, logits, any named tensors.
//!
//! Which slots are written and drawn is decided on the host by (seed, count), so nothing is read back from the device.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

use crate::rng;

/// How slots are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One group: a uniform choice of everything offered.
    Reservoir,
    /// A group per class: for labels that differ between tasks.
    ClassBalanced { classes: usize },
    /// A group per class of each task: for labels that repeat.
    TaskAndClassBalanced { tasks: usize, classes: usize },
    /// A group per task that keeps its first samples (GEM).
    FirstPerTask { tasks: usize },
}

/// The slot of sample number `n` (from 0) of a group with `size` slots: the next free one, then floor(u (n+1)) if that
/// is a slot. `u` uniform in [0, 1); `None` = not kept.
pub fn reservoir_slot(n: i64, size: i64, u: f64) -> Option<i64> {
    let slot = if n < size { n } else { (u * (n + 1) as f64) as i64 };
    (slot < size).then_some(slot)
}

pub struct Memory {
    rule: Rule,
    /// Slots per group.
    share: i64,
    seed: u64,
    device: Device,
    /// How many samples each group was offered so far; it holds min(offered, share) of them.
    offered: Vec<i64>,
    /// Label and task by slot; a task of -1 = empty.
    labels: Vec<i64>,
    tasks: Vec<i64>,
    /// What the slots hold, `[slots, ...]`; none before the first samples came.
    fields: Vec<(String, Tensor)>,
}

impl Memory {
    /// A memory of at most `capacity` samples; every group gets the same whole share of it, at least 1.
    pub fn new(rule: Rule, capacity: usize, seed: u64, device: Device) -> Result<Memory> {
        let (groups, what) = match rule {
            Rule::Reservoir => (1, "stream".to_owned()),
            Rule::ClassBalanced { classes } => (classes, format!("each of {classes} classes")),
            Rule::TaskAndClassBalanced { tasks, classes } => {
                (tasks * classes, format!("each of {classes} classes in {tasks} tasks"))
            }
            Rule::FirstPerTask { tasks } => (tasks, format!("each of {tasks} tasks")),
        };
        ensure!(groups > 0, "a memory needs at least one class and one task");
        ensure!(capacity >= groups, "memory size = {capacity} is too small to hold one sample of {what}");
        let share = capacity / groups;
        let empty = vec![-1; share * groups];
        Ok(Memory {
            rule,
            share: share as i64,
            seed,
            device,
            offered: vec![0; groups],
            labels: empty.clone(),
            tasks: empty,
            fields: Vec::new(),
        })
    }

    /// Number of samples held.
    pub fn len(&self) -> usize {
        self.offered.iter().map(|&n| n.min(self.share) as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn group(&self, task: usize, label: i64) -> Result<usize> {
        let class = |classes: usize| -> Result<usize> {
            ensure!((0..classes as i64).contains(&label), "label {label} is not one of the memory's {classes} classes");
            Ok(label as usize)
        };
        let task = |tasks: usize| -> Result<usize> {
            ensure!(task < tasks, "task {task} is not one of the memory's {tasks} tasks");
            Ok(task)
        };
        match self.rule {
            Rule::Reservoir => Ok(0),
            Rule::ClassBalanced { classes } => class(classes),
            Rule::TaskAndClassBalanced { tasks, classes } => Ok(task(tasks)? * classes + class(classes)?),
            Rule::FirstPerTask { tasks } => task(tasks),
        }
    }

    /// Offers samples of one task, in order: `labels` `[n]` on the host, `fields` `[n, ...]` on the memory's device,
    /// with the names, kinds and shapes of the first call. On an error nothing is changed.
    pub fn offer(&mut self, task: usize, labels: &[i64], fields: &[(&str, &Tensor)]) -> Result<()> {
        self.check_fields(labels.len(), fields)?;
        let groups = labels.iter().map(|&label| self.group(task, label)).collect::<Result<Vec<usize>>>()?;
        let salts: Vec<u64> =
            (0..self.offered.len()).map(|group| rng::mix(self.seed, &format!("memory group {group}"))).collect();
        // By slot: of several samples for one slot the last stays.
        let mut kept: BTreeMap<i64, i64> = BTreeMap::new();
        for (row, &group) in groups.iter().enumerate() {
            let n = self.offered[group];
            self.offered[group] += 1;
            let u = match self.rule {
                // Never a slot once all are taken.
                Rule::FirstPerTask { .. } => 1.0,
                _ => rng::step_seed(salts[group], n as u64) as f64 / i64::MAX as f64,
            };
            if let Some(slot) = reservoir_slot(n, self.share, u) {
                kept.insert(group as i64 * self.share + slot, row as i64);
            }
        }
        for (&slot, &row) in &kept {
            self.labels[slot as usize] = labels[row as usize];
            self.tasks[slot as usize] = task as i64;
        }
        self.write(&kept, fields);
        Ok(())
    }

    fn check_fields(&self, rows: usize, fields: &[(&str, &Tensor)]) -> Result<()> {
        ensure!(!fields.is_empty(), "a memory needs at least one field to hold");
        for (name, tensor) in fields {
            let size = tensor.size();
            ensure!(
                size.first() == Some(&(rows as i64)),
                "memory field {name} has shape {size:?}, there are {rows} labels"
            );
        }
        if self.fields.is_empty() {
            return Ok(());
        }
        ensure!(
            fields.len() == self.fields.len(),
            "the memory holds {} fields, {} given",
            self.fields.len(),
            fields.len()
        );
        for ((name, tensor), (held_name, held)) in fields.iter().zip(&self.fields) {
            let (shape, held_shape) = (&tensor.size()[1..], &held.size()[1..]);
            ensure!(
                name == held_name && shape == held_shape && tensor.kind() == held.kind(),
                "the memory holds {held_name} {:?} {held_shape:?} per sample, {name} {:?} {shape:?} given",
                held.kind(),
                tensor.kind()
            );
        }
        Ok(())
    }

    fn write(&mut self, kept: &BTreeMap<i64, i64>, fields: &[(&str, &Tensor)]) {
        if kept.is_empty() {
            return;
        }
        let slots = self.on_device(&kept.keys().copied().collect::<Vec<i64>>());
        let rows = self.on_device(&kept.values().copied().collect::<Vec<i64>>());
        if self.fields.is_empty() {
            let empty = |(name, tensor): &(&str, &Tensor)| {
                let shape = [&[self.labels.len() as i64], &tensor.size()[1..]].concat();
                ((*name).to_owned(), Tensor::zeros(shape, (tensor.kind(), self.device)))
            };
            self.fields = fields.iter().map(empty).collect();
        }
        for ((_, held), (_, tensor)) in self.fields.iter_mut().zip(fields) {
            let _ = held.index_copy_(0, &slots, &tensor.detach().index_select(0, &rows));
        }
    }

    fn on_device(&self, numbers: &[i64]) -> Tensor {
        Tensor::from_slice(numbers).to_device(self.device)
    }

    fn filled(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.tasks.len()).filter(|&slot| self.tasks[slot] >= 0)
    }

    /// The slots of a replay batch, `[size]` int64 on the device, a pure function of (contents, seed, step): distinct
    /// while the memory has that many samples, else every sample equally often, up to one. An empty memory is an error.
    pub fn draw(&self, size: usize, step: u64) -> Result<Tensor> {
        let filled: Vec<i64> = self.filled().map(|slot| slot as i64).collect();
        ensure!(!filled.is_empty(), "the memory is empty: there is nothing to replay");
        let mut rng = rng::stream(self.seed, &format!("memory draw {step}"));
        let mut slots = Vec::with_capacity(size);
        while slots.len() < size {
            let wanted = filled.len().min(size - slots.len());
            slots.extend(rand::seq::index::sample(&mut rng, filled.len(), wanted).iter().map(|i| filled[i]));
        }
        Ok(self.on_device(&slots))
    }

    /// The slots that hold samples of `task`, `[n]` int64 on the device, in slot order.
    pub fn slots_of_task(&self, task: usize) -> Tensor {
        self.on_device(
            &self.filled().map(|s| s as i64).filter(|&s| self.tasks[s as usize] == task as i64).collect::<Vec<_>>(),
        )
    }

    /// What `slots` hold of field `name`.
    pub fn get(&self, name: &str, slots: &Tensor) -> Result<Tensor> {
        let field = self.fields.iter().find(|(held, _)| held == name);
        let (_, field) = field.with_context(|| format!("the memory holds no field {name}"))?;
        Ok(field.index_select(0, slots))
    }

    /// Samples held per class 0..classes.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let count = |class: usize| self.filled().filter(|&slot| self.labels[slot] == class as i64).count();
        (0..classes).map(count).collect()
    }

    /// Everything a checkpoint needs, under names that start with `memory.`. The fields are the memory's own tensors.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let host = [("offered", &self.offered), ("labels", &self.labels), ("tasks", &self.tasks)];
        let host = host.into_iter().map(|(name, numbers)| (format!("memory.{name}"), Tensor::from_slice(numbers)));
        let fields = self.fields.iter().map(|(name, tensor)| (format!("memory.field.{name}"), tensor.shallow_clone()));
        host.chain(fields).collect()
    }

    /// Takes over a state; other names in `tensors` are passed over. The memory must have been made with the same rule
    /// and capacity; an error leaves it unchanged.
    pub fn load_state(&mut self, tensors: &[(String, Tensor)]) -> Result<()> {
        let numbers = |name: &str, len: usize| -> Result<Vec<i64>> {
            let name = format!("memory.{name}");
            let found = tensors.iter().find(|(n, _)| *n == name);
            let (_, tensor) = found.with_context(|| format!("the checkpoint has no {name}"))?;
            ensure!(
                tensor.size() == [len as i64] && tensor.kind() == Kind::Int64,
                "{name} has shape {:?}, a memory of this rule and size has [{len}]: it is of another run",
                tensor.size()
            );
            Ok(Vec::try_from(tensor.to_device(Device::Cpu))?)
        };
        let (offered, labels) = (numbers("offered", self.offered.len())?, numbers("labels", self.labels.len())?);
        let tasks = numbers("tasks", self.tasks.len())?;
        let mut fields = Vec::new();
        for (name, tensor) in tensors {
            let Some(name) = name.strip_prefix("memory.field.") else { continue };
            if tensor.size().first() != Some(&(self.labels.len() as i64)) {
                bail!("memory.field.{name} has shape {:?}, the memory has {} slots", tensor.size(), self.labels.len());
            }
            fields.push((name.to_owned(), tensor.to_device(self.device).copy()));
        }
        (self.offered, self.labels, self.tasks, self.fields) = (offered, labels, tasks, fields);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(rule: Rule, capacity: usize) -> Memory {
        Memory::new(rule, capacity, 3, Device::Cpu).unwrap()
    }

    /// Offers `labels` with a running number as the only field.
    fn offer(memory: &mut Memory, task: usize, labels: &[i64], first: i64) {
        let index = Tensor::arange_start(first, first + labels.len() as i64, (Kind::Int64, Device::Cpu));
        memory.offer(task, labels, &[("index", &index)]).unwrap();
    }

    fn held(memory: &Memory, slots: &Tensor) -> Vec<i64> {
        Vec::try_from(memory.get("index", slots).unwrap()).unwrap()
    }

    #[test]
    fn classes_keep_equal_shares_whatever_comes_later() {
        let mut memory = memory(Rule::ClassBalanced { classes: 4 }, 43);
        offer(&mut memory, 0, &[0; 100], 0);
        offer(&mut memory, 0, &[1; 5], 100);
        assert_eq!((memory.class_counts(4), memory.len()), (vec![10, 5, 0, 0], 15));
        offer(&mut memory, 1, &[2, 3].repeat(50), 200);
        offer(&mut memory, 1, &[1; 50], 300);
        assert_eq!(memory.class_counts(4), [10; 4]);
    }

    #[test]
    fn repeating_labels_are_balanced_by_task_too() {
        let mut memory = memory(Rule::TaskAndClassBalanced { tasks: 3, classes: 2 }, 24);
        for task in 0..3 {
            offer(&mut memory, task, &[0, 1].repeat(30), 100 * task as i64);
        }
        assert_eq!(memory.class_counts(2), [12, 12]);
        for task in 0..3 {
            let of_task = held(&memory, &memory.slots_of_task(task));
            assert_eq!(of_task.len(), 8);
            assert!(of_task.iter().all(|&i| i / 100 == task as i64), "{of_task:?}");
        }
    }

    #[test]
    fn gem_keeps_the_first_of_every_task() {
        let mut memory = memory(Rule::FirstPerTask { tasks: 2 }, 6);
        offer(&mut memory, 0, &[7, 8], 0);
        offer(&mut memory, 0, &[9, 9, 9], 2);
        offer(&mut memory, 1, &[7; 10], 10);
        assert_eq!(held(&memory, &memory.slots_of_task(0)), [0, 1, 2]);
        assert_eq!(held(&memory, &memory.slots_of_task(1)), [10, 11, 12]);
    }

    #[test]
    fn a_reservoir_is_uniform_and_does_not_depend_on_the_batches() {
        let mut mean = 0.0;
        for seed in 0..50 {
            let mut whole = Memory::new(Rule::Reservoir, 20, seed, Device::Cpu).unwrap();
            let mut parts = Memory::new(Rule::Reservoir, 20, seed, Device::Cpu).unwrap();
            offer(&mut whole, 0, &[0; 400], 0);
            for first in [0, 100, 200, 300] {
                offer(&mut parts, 0, &[0; 100], first);
            }
            let all = whole.slots_of_task(0);
            assert_eq!(held(&whole, &all), held(&parts, &all));
            mean += held(&whole, &all).iter().sum::<i64>() as f64 / 1000.0;
        }
        // 1000 uniform numbers below 400: the mean is 199.5 within four standard errors.
        assert!((mean - 199.5).abs() < 15.0, "{mean}");
    }

    #[test]
    fn reservoir_slots_follow_the_rule() {
        assert_eq!(reservoir_slot(2, 3, 0.9), Some(2));
        assert_eq!(reservoir_slot(3, 3, 0.5), Some(2));
        assert_eq!(reservoir_slot(3, 3, 0.75), None);
        assert_eq!(reservoir_slot(0, 0, 0.5), None);
    }

    #[test]
    fn draws_are_distinct_repeatable_and_filled_up_evenly() {
        let mut memory = memory(Rule::ClassBalanced { classes: 2 }, 20);
        assert!(memory.draw(1, 0).unwrap_err().to_string().contains("memory is empty"));
        offer(&mut memory, 0, &[0; 30], 0);
        offer(&mut memory, 0, &[1; 6], 30);
        let slots = |size, step| Vec::<i64>::try_from(memory.draw(size, step).unwrap()).unwrap();
        let sorted = |mut slots: Vec<i64>| {
            slots.sort();
            slots
        };
        assert_eq!(slots(8, 4), slots(8, 4));
        assert_ne!(slots(8, 4), slots(8, 5));
        let everything: Vec<i64> = (0..16).collect();
        assert_eq!(sorted(slots(16, 0)), everything, "all filled slots, and no empty one");
        let twice = sorted([everything.clone(), everything].concat());
        assert_eq!(sorted(slots(32, 0)), twice);
        assert_eq!(slots(20, 0).len(), 20);
    }

    #[test]
    fn a_restored_memory_goes_on_as_if_never_stopped() {
        let rule = Rule::ClassBalanced { classes: 2 };
        let mut straight = memory(rule, 10);
        offer(&mut straight, 0, &[0, 1].repeat(20), 0);
        let saved: Vec<(String, Tensor)> = straight.state().into_iter().map(|(n, t)| (n, t.copy())).collect();
        let mut resumed = memory(rule, 10);
        resumed.load_state(&saved).unwrap();
        for memory in [&mut straight, &mut resumed] {
            offer(memory, 1, &[1, 0].repeat(20), 100);
        }
        for ((name, a), (_, b)) in straight.state().iter().zip(&resumed.state()) {
            assert_eq!(a, b, "{name}");
        }
        assert_eq!(straight.draw(5, 9).unwrap(), resumed.draw(5, 9).unwrap());
        let other = memory(rule, 12).load_state(&saved).unwrap_err().to_string();
        assert!(other.contains("memory.labels"), "{other}");
        assert!(memory(rule, 10).load_state(&saved[1..]).unwrap_err().to_string().contains("no memory.offered"));
    }

    #[test]
    fn wrong_samples_are_refused_and_change_nothing() {
        assert!(Memory::new(Rule::ClassBalanced { classes: 10 }, 9, 0, Device::Cpu).is_err());
        let mut memory = memory(Rule::ClassBalanced { classes: 2 }, 4);
        offer(&mut memory, 0, &[0, 1], 0);
        let (two, one) = (Tensor::from_slice(&[5i64, 6]), Tensor::from_slice(&[5i64]));
        assert!(memory.offer(0, &[0, 2], &[("index", &two)]).unwrap_err().to_string().contains("label 2"));
        assert!(memory.offer(0, &[0, 1], &[("index", &one)]).is_err());
        assert!(memory.offer(0, &[0, 1], &[("row", &two)]).is_err());
        assert!(memory.offer(0, &[0, 1], &[("index", &two.to_kind(Kind::Float))]).is_err());
        assert_eq!((memory.class_counts(2), memory.len()), (vec![1, 1], 2));
        assert!(memory.get("pixels", &one).is_err());
    }
}
