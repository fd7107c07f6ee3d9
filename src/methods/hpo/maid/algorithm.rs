//! What moves theta, one outer iteration at a time, with a state that can be stored: MAID (adaptive or fixed), HOAG, or
//! derivative-free search.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::ControlFlow::{self, Break, Continue};
use tch::Tensor;

use super::black_box::{BlackBox, Trials, Tried};
use super::build::Task;
use super::config;
use super::descent::{Maid, Outcome, Record, Scalars, State, Stop};
use super::hoag::{Decision, HoagScalars, HoagState, Schedule};
use super::settings::Settings;
use crate::bilevel::{Bilevel, Work};
use crate::search::Sampler;

/// A row of maid.csv: one outer iteration.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Row {
    pub iteration: u64,
    /// g at the accepted accuracy: after the step (HOAG: before it; search: the best so far).
    pub loss: f64,
    pub z_norm: f64,
    /// The bound on ||z - grad f||; empty without a descent test.
    pub omega: f64,
    /// The step taken; 0 where HOAG rejected it. Search: how far theta moved.
    pub step_size: f64,
    /// Accuracies and first step of the next iteration.
    pub eps: f64,
    pub delta: f64,
    pub alpha: f64,
    /// Steps refused.
    pub backtracks: u64,
    /// Line searches without a step.
    pub failed_searches: u64,
    /// Times the descent test asked for more accuracy.
    pub tightenings: u64,
    /// Since the start of the run.
    pub inner_gradients: u64,
    pub hessian_products: u64,
    /// Both together: the cost that methods are compared on.
    pub cost: u64,
}

pub enum Algorithm<'a> {
    Maid(Maid<'a>),
    Hoag { problem: &'a Bilevel, settings: Settings, schedule: Schedule, state: HoagState },
    BlackBox(BlackBox<'a>),
}

/// The numbers of each; with theta and x, all there is to store.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Numbers {
    Maid(Scalars),
    Hoag(HoagScalars),
    BlackBox(Trials),
}

impl<'a> Algorithm<'a> {
    pub fn start(task: &'a Task, method: &config::Method, seed: u64) -> Result<Algorithm<'a>> {
        let (problem, settings) = (&task.problem, method.settings(seed));
        let search = |sampler: Sampler| -> Result<Algorithm<'a>> {
            let settings = method.settings(seed);
            Ok(Algorithm::BlackBox(BlackBox::start(problem, settings, sampler, method.range, &task.theta, &task.x)?))
        };
        Ok(match method.algorithm {
            config::Algorithm::Maid | config::Algorithm::Fixed => {
                Algorithm::Maid(Maid::start(problem, settings, &task.theta, &task.x)?)
            }
            config::Algorithm::Hoag => {
                let state = HoagState::start(&task.theta, &task.x, settings.eps0);
                Algorithm::Hoag { problem, settings, schedule: method.schedule, state }
            }
            config::Algorithm::NelderMead => search(Sampler::NelderMead)?,
            config::Algorithm::Tpe => search(Sampler::Tpe)?,
        })
    }

    pub fn theta(&self) -> &Tensor {
        match self {
            Algorithm::Maid(maid) => &maid.state().theta,
            Algorithm::Hoag { state, .. } => &state.theta,
            Algorithm::BlackBox(search) => &search.theta,
        }
    }

    pub fn x(&self) -> &Tensor {
        match self {
            Algorithm::Maid(maid) => &maid.state().x,
            Algorithm::Hoag { state, .. } => &state.x,
            Algorithm::BlackBox(search) => &search.x,
        }
    }

    /// Outer iterations done.
    pub fn iteration(&self) -> u64 {
        match self {
            Algorithm::Maid(maid) => maid.state().scalars.iteration,
            Algorithm::Hoag { state, .. } => state.scalars.iteration,
            Algorithm::BlackBox(search) => search.iteration(),
        }
    }

    pub fn work(&self) -> Work {
        match self {
            Algorithm::Maid(maid) => maid.state().scalars.work,
            Algorithm::Hoag { state, .. } => state.scalars.work,
            Algorithm::BlackBox(search) => search.trials.work,
        }
    }

    /// One outer iteration, or why there is none.
    pub fn iterate(&mut self) -> Result<ControlFlow<Stop, Row>> {
        let row = match self {
            Algorithm::Maid(maid) => match maid.iterate()? {
                Outcome::Stopped(stop) => return Ok(Break(stop)),
                Outcome::Accepted(record) => Row::from(record),
            },
            Algorithm::Hoag { problem, settings, schedule, state } => {
                if let Some(stop) = state.over(settings) {
                    return Ok(Break(stop));
                }
                let record = state.iterate(problem, settings, *schedule)?;
                Row {
                    iteration: record.iteration,
                    loss: record.g,
                    z_norm: record.z_norm,
                    omega: f64::NAN,
                    step_size: record.step,
                    eps: record.eps,
                    delta: record.eps,
                    alpha: 1.0 / record.l,
                    backtracks: u64::from(record.decision == Decision::Reject),
                    ..Row::default()
                }
            }
            Algorithm::BlackBox(search) => {
                if let Some(stop) = search.over() {
                    return Ok(Break(stop));
                }
                let Tried { best, moved } = search.iterate()?;
                let (iteration, unknown) = (search.iteration(), f64::NAN);
                Row {
                    iteration,
                    loss: best,
                    z_norm: unknown,
                    omega: unknown,
                    step_size: moved,
                    eps: search.eps(),
                    delta: unknown,
                    alpha: unknown,
                    ..Row::default()
                }
            }
        };
        let work = self.work();
        let (inner_gradients, hessian_products) = (work.gradients, work.hessian_products);
        Ok(Continue(Row { inner_gradients, hessian_products, cost: work.units(), ..row }))
    }

    /// Everything it goes on from.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let numbers = match self {
            Algorithm::Maid(maid) => Numbers::Maid(maid.state().scalars),
            Algorithm::Hoag { state, .. } => Numbers::Hoag(state.scalars),
            Algorithm::BlackBox(search) => Numbers::BlackBox(search.trials.clone()),
        };
        Ok(vec![
            ("theta".into(), self.theta().shallow_clone()),
            ("x".into(), self.x().shallow_clone()),
            ("numbers".into(), to_tensor(&numbers)?),
        ])
    }

    /// Puts back what [`Algorithm::tensors`] gave.
    pub fn load(&mut self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let find = |name: &str| tensors.get(name).with_context(|| format!("the checkpoint holds no {name}"));
        let device = self.theta().device();
        let (theta, x) = (find("theta")?.to_device(device), find("x")?.to_device(device));
        match (self, from_tensor(find("numbers")?)?) {
            (Algorithm::Maid(maid), Numbers::Maid(scalars)) => maid.load(State { theta, x, scalars }),
            (Algorithm::Hoag { state, .. }, Numbers::Hoag(scalars)) => {
                *state = HoagState { theta, x, scalars };
                Ok(())
            }
            (Algorithm::BlackBox(search), Numbers::BlackBox(trials)) => search.load(theta, x, trials),
            _ => bail!("the checkpoint is of another algorithm"),
        }
    }
}

impl From<Record> for Row {
    fn from(record: Record) -> Row {
        Row {
            iteration: record.iteration,
            loss: record.g,
            z_norm: record.z_norm,
            omega: record.omega,
            step_size: record.step,
            eps: record.eps,
            delta: record.delta,
            alpha: record.alpha,
            backtracks: record.n_backtrack,
            failed_searches: record.n_fail,
            tightenings: record.n_tighten,
            ..Row::default()
        }
    }
}

/// Plain numbers among tensors: their JSON text, which keeps every float exactly.
pub fn to_tensor(numbers: &impl Serialize) -> Result<Tensor> {
    Ok(Tensor::from_slice(&serde_json::to_vec(numbers)?))
}

pub fn from_tensor<T: for<'de> Deserialize<'de>>(tensor: &Tensor) -> Result<T> {
    let text = Vec::<u8>::try_from(tensor)?;
    serde_json::from_slice(&text).context("the checkpoint's numbers cannot be read")
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::*;
    use std::path::Path;
    use tch::Device;

    fn rows(algorithm: &mut Algorithm, n: usize) -> Vec<String> {
        let row = |_| match algorithm.iterate().unwrap() {
            Continue(row) => format!("{row:?}"),
            Break(stop) => format!("{stop:?}"),
        };
        (0..n).map(row).collect()
    }

    #[test]
    fn each_algorithm_goes_on_from_its_tensors() {
        use config::Algorithm::{Hoag, Maid, NelderMead, Tpe};
        for algorithm in [Maid, Hoag, NelderMead, Tpe] {
            let mut config = Config::default();
            config.method.problem = config::Problem::Quadratic;
            config.method.quadratic.rows = 50;
            config.method.algorithm = algorithm;
            let task = Task::build(&config, 0, Device::Cpu, Path::new("")).unwrap();
            let begin = || Algorithm::start(&task, &config.method, 0).unwrap();
            let (mut whole, mut first, mut second) = (begin(), begin(), begin());
            rows(&mut whole, 3);
            rows(&mut first, 3);
            second.load(&first.tensors().unwrap().into_iter().collect()).unwrap();
            assert_eq!(rows(&mut whole, 3), rows(&mut second, 3));
        }
    }
}
