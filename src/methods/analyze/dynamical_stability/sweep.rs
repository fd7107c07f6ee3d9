//! Training of all stacked models at once, and what is found at the minima.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};
use tch::{Device, Kind, Tensor, no_grad};

use super::config::Method;
use super::measure::ModelRow;
use super::problem::{Stack, residuals};
use super::sharpness::Spectrum;
use super::stability::{Alignment, Sampling, Stability};
use super::student::sgd_step;
use crate::params::ParamStore;
use crate::rng;
use crate::run::{Phase, Run, Stamp, State, Weights};

const PHASE: &str = "train";

pub struct Sweep<'a> {
    method: &'a Method,
    sampling: Sampling,
    pub stack: Stack,
    seed: u64,
    step: u64,
    /// Every model's loss was below the tolerance at the last look.
    over: bool,
    /// The batches from step `.0` on, `[every, B]`.
    block: Option<(u64, Tensor)>,
}

impl<'a> Sweep<'a> {
    pub fn new(method: &'a Method, seed: u64, device: Device) -> Sweep<'a> {
        let stack = Stack::build(method, seed, device);
        Sweep { method, sampling: method.sampling(), stack, seed, step: 0, over: false, block: None }
    }

    pub fn stamp(&self) -> Stamp {
        let epoch = self.step as f64 * self.sampling.batch as f64 / self.method.examples as f64;
        Stamp { step: self.step, epoch }
    }

    pub fn train(&mut self, run: &mut Run) -> Result<()> {
        match run.phase(PHASE)? {
            Phase::Fresh => self.look(run)?,
            Phase::Resumed(checkpoint) => self.load(&checkpoint.state)?,
            Phase::Done(checkpoint) => return self.load(&checkpoint.state),
        }
        run.progress.start(PHASE, self.step, self.method.steps);
        while self.step < self.method.steps && !self.over {
            no_grad(|| self.advance());
            if self.step.is_multiple_of(self.method.every) || self.step == self.method.steps {
                self.look(run)?;
            }
            let signal = run.signalled();
            let unfinished = self.step < self.method.steps && !self.over;
            if unfinished && (signal.is_some() || run.checkpoint_due(self.step)) {
                self.checkpoint(false, run)?;
            }
            if let Some(signal) = signal.filter(|_| unfinished) {
                return Err(signal.into());
            }
        }
        self.checkpoint(true, run)
    }

    fn advance(&mut self) {
        let rates = match self.method.cosine {
            false => self.stack.rates.shallow_clone(),
            true => {
                let done = self.step as f64 / self.method.steps as f64;
                &self.stack.rates * (0.5 * (1.0 + (std::f64::consts::PI * done).cos()))
            }
        };
        let clip = (self.method.clip > 0.0).then_some(self.method.clip);
        if self.method.is_gradient_descent() {
            let _ = sgd_step(&mut *self.stack.student, &self.stack.x, &self.stack.y, &rates, clip);
        } else {
            let index = self.batch();
            let (x, y) = (self.stack.x.index_select(1, &index), self.stack.y.index_select(1, &index));
            let _ = sgd_step(&mut *self.stack.student, &x, &y, &rates, clip);
        }
        self.step += 1;
    }

    /// The examples of the next step, the same for all models: a pure function of seed and step.
    fn batch(&mut self) -> Tensor {
        let first = self.step - self.step % self.method.every;
        if self.block.as_ref().is_none_or(|(start, _)| *start != first) {
            let draws = batches(self.seed, first, self.method.every, self.method.examples, self.sampling);
            self.block = Some((first, draws.to_device(self.stack.x.device())));
        }
        let (_, block) = self.block.as_ref().expect("drawn above");
        block.get((self.step - first) as i64)
    }

    /// A row of training.csv: the loss of each model (mean over the replicas), and its balance where the starts differ in it.
    fn look(&mut self, run: &mut Run) -> Result<()> {
        let losses = no_grad(|| host(&self.stack.losses()));
        self.over = losses.iter().all(|loss| *loss < self.method.tolerance);
        let mut row = Map::new();
        let models = self.models();
        for (name, places) in &models {
            row.insert(format!("loss.{name}"), json!(mean(places.iter().map(|&r| losses[r]))));
        }
        if !self.method.ratios.is_empty() {
            for (name, places) in &models {
                let ratios = places.iter().map(|&r| self.stack.student.ratio(r as i64));
                row.insert(format!("ratio.{name}"), json!(mean(ratios)));
            }
        }
        run.append("training", self.stamp(), row)?;
        run.progress.step(self.step);
        let largest = losses.iter().copied().fold(0.0, f64::max);
        run.progress.numbers(&format!("largest loss {largest:.1e}"));
        Ok(())
    }

    /// Each model's name with its places in the stack, one a replica.
    pub fn models(&self) -> Vec<(String, Vec<usize>)> {
        let labels = &self.stack.labels;
        let first = labels.iter().filter(|l| l.replica == 0);
        let places = |name: &str| labels.iter().enumerate().filter(|(_, l)| l.name == name).map(|(r, _)| r).collect();
        first.map(|l| (l.name.clone(), places(&l.name))).collect()
    }

    /// What each model is at where it ended, in the order of the stack.
    pub fn measure(&self) -> Vec<ModelRow> {
        no_grad(|| {
            let stack = &self.stack;
            let (losses, errors) = (host(&stack.losses()), host(&stack.test_errors()));
            let e = residuals(&*stack.student, &stack.x, &stack.y);
            let measure = |(r, label): (usize, &super::problem::Label)| {
                let place = r as i64;
                let mut row = ModelRow::new(label, self.method, self.sampling);
                row.loss = losses[r];
                if !losses[r].is_finite() {
                    return row; // it diverged: there is no minimum to measure
                }
                let spectrum = Spectrum::of(&stack.student.per_example(place, &stack.x.get(place)));
                let stability = Stability::of(&spectrum, label.rate, self.sampling, |m| m.growth());
                let alignment = Alignment::of(&e.get(place), &spectrum.coordinates, label.rate, self.sampling.batch);
                row.fill(&spectrum.sharpness, &stability, &alignment);
                row.test_mse = Some(errors[r]);
                row.norm = Some(stack.student.norm(place));
                row.ratio = Some(stack.student.ratio(place));
                row
            };
            stack.labels.iter().enumerate().map(measure).collect()
        })
    }

    fn checkpoint(&self, complete: bool, run: &mut Run) -> Result<()> {
        let weights = Weights { store: &ParamStore::new(run.device), arch: String::new() };
        let mut state = State::default();
        let tensors = self.stack.student.tensors().into_iter().enumerate();
        state.put("student", tensors.map(|(i, t)| (i.to_string(), t.shallow_clone())).collect());
        state.put(
            "sweep",
            vec![("step".into(), Tensor::from(self.step as i64)), ("over".into(), Tensor::from(i64::from(self.over)))],
        );
        run.checkpoint(PHASE, self.stamp(), complete, &weights, &state)
    }

    fn load(&mut self, state: &State) -> Result<()> {
        let (student, sweep) = (state.take("student"), state.take("sweep"));
        for (i, tensor) in self.stack.student.tensors_mut().into_iter().enumerate() {
            let stored = student.get(&i.to_string()).context("the checkpoint lacks a tensor of the models")?;
            ensure!(stored.size() == tensor.size(), "the checkpoint is of other models: {:?}", stored.size());
            tensor.copy_(stored);
        }
        let number = |name: &str| -> Result<i64> {
            Ok(sweep.get(name).with_context(|| format!("the checkpoint holds no {name}"))?.int64_value(&[]))
        };
        (self.step, self.over) = (number("step")? as u64, number("over")? == 1);
        Ok(())
    }
}

/// Mean of an iterator; NaN values stay.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

fn host(values: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(values.to_kind(Kind::Double).to_device(Device::Cpu)).expect("float64 numbers on the host")
}

/// The batches of the steps first..first + count, int64 `[count, B]`.
fn batches(seed: u64, first: u64, count: u64, n: i64, sampling: Sampling) -> Tensor {
    use rand::RngExt;
    let mut draw = rng::stream(seed, &format!("batches from step {first}"));
    let batch = sampling.batch as usize;
    let mut all: Vec<i64> = Vec::with_capacity(count as usize * batch);
    for _ in 0..count {
        match sampling.replacement {
            true => all.extend((0..batch).map(|_| draw.random_range(0..n))),
            false => all.extend(rand::seq::index::sample(&mut draw, n as usize, batch).iter().map(|i| i as i64)),
        }
    }
    Tensor::from_slice(&all).view([count as i64, sampling.batch])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_without_replacement_hold_no_example_twice_and_repeat() {
        let drawn = |replacement| batches(1, 0, 40, 6, Sampling { batch: 6, replacement });
        let sorted = drawn(false).sort(1, false).0;
        assert_eq!(sorted, Tensor::arange(6, (Kind::Int64, Device::Cpu)).repeat([40, 1]));
        assert_ne!(drawn(true).sort(1, false).0, sorted);
        assert_eq!(drawn(true), drawn(true));
    }
}
