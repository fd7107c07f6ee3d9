//! Continual evaluation: the accuracy on every task met so far, every rho steps, on test samples drawn once.
//!
//! It changes nothing of the training: evaluation mode, no gradients, no random numbers. Hits are counted on the device
//! and come to the host with the rows of many steps.

use anyhow::Result;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor, no_grad};

use super::config::EvaluationConfig;
use super::series::Series;
use super::tasks::{EvaluationSet, Tasks};
use crate::models::{Cx, Model};
use crate::params::View;
use crate::run::{Run, Stamp};
use crate::train::{Doors, EpochEnd, Step, batch_size};

/// Writes continual.csv: `task` being learnt, `acc_task0`, ... as fractions; nothing for a task not started yet.
pub struct Evaluator<'a> {
    config: &'a EvaluationConfig,
    tasks: &'a Tasks,
    samples: EvaluationSet,
    /// `[N, T]`: 1 where the sample is the task's.
    owner: Tensor,
    /// The task being learnt.
    task: usize,
    hits: Series,
}

impl<'a> Evaluator<'a> {
    pub fn new(config: &'a EvaluationConfig, tasks: &'a Tasks, seed: u64) -> Result<Evaluator<'a>> {
        let samples = tasks.evaluation_set(config.samples, seed)?;
        let mut owners = Vec::new();
        for (task, &size) in samples.sizes.iter().enumerate() {
            owners.extend(vec![task as i64; size]);
        }
        let owner = Tensor::from_slice(&owners).one_hot(tasks.len() as i64).to_kind(Kind::Float);
        let owner = owner.to_device(samples.set.device());
        Ok(Evaluator { config, tasks, samples, owner, task: 0, hits: Series::default() })
    }

    /// Test samples of each task.
    pub fn sizes(&self) -> &[usize] {
        &self.samples.sizes
    }

    /// `task` is learnt from now on.
    pub fn start(&mut self, task: usize) {
        self.task = task;
    }

    /// Right answers on each of the first `seen` tasks, `[seen]` float on the device.
    fn measure(&self, model: &dyn Model, view: &View, seen: usize) -> Tensor {
        let total: usize = self.samples.sizes[..seen].iter().sum();
        let most = batch_size(&self.samples.set);
        no_grad(|| {
            let pieces = (0..total).step_by(most).map(|first| {
                let batch = self.samples.set.slice(first, most.min(total - first));
                let logits = model.forward(&Cx::eval(view), &batch.x);
                let right = self.tasks.output.answers(&logits, &batch.y, seen).eq_tensor(&batch.y);
                let owner = self.owner.narrow(0, first as i64, batch.y.size()[0]);
                right.to_kind(Kind::Float).unsqueeze(0).matmul(&owner).squeeze_dim(0)
            });
            pieces.reduce(|sum, hits| sum + hits).expect("every task has samples").narrow(0, 0, seen as i64)
        })
    }

    /// The record before the first update: for pictures, not for the metrics.
    pub fn before(&self, model: &dyn Model, view: &View, run: &mut Run) -> Result<()> {
        let hits = Vec::<f64>::try_from(self.measure(model, view, 1).to_device(Device::Cpu).to_kind(Kind::Double))?;
        run.append("continual", Stamp::default(), self.row(&hits))
    }

    fn row(&self, hits: &[f64]) -> Map<String, Value> {
        let mut row = Map::from_iter([("task".to_owned(), json!(self.task))]);
        for (task, &size) in self.samples.sizes.iter().enumerate() {
            row.insert(format!("acc_task{task}"), json!(hits.get(task).map(|h| h / size as f64)));
        }
        row
    }
}

impl Doors for Evaluator<'_> {
    fn name(&self) -> &'static str {
        "continual-evaluation"
    }

    fn observes(&self, step: &Step) -> bool {
        let due = !self.config.task_ends_only && step.run_step.is_multiple_of(self.config.rho);
        due || step.step == step.steps
    }

    fn observe(&mut self, step: &Step, view: &View) -> Result<()> {
        let hits = self.measure(step.model, view, self.task + 1);
        self.hits.push(step.run_step, hits);
        Ok(())
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        for (step, hits) in self.hits.take() {
            run.append("continual", end.stamp_of(step), self.row(&hits))?;
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.hits.state()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.hits.load_state(state)
    }
}
