//! Derivative-free rivals: Nelder-Mead and TPE on g(x) at a fixed accuracy of the lower solve, one trial an iteration.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::Instant;
use tch::{Kind, Tensor};

use super::descent::Stop;
use super::settings::Settings;
use crate::bilevel::{Bilevel, Work, accelerated_gradient, norm};
use crate::search::{Dimension, Header, Mode, Pruner, Sampler, Space, State, Study, Trial};

/// What is stored beside the best theta and x: proposals are a pure function of the values before them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trials {
    /// g of each trial; `None` where it is not finite or h is not strongly convex.
    pub values: Vec<Option<f64>>,
    pub work: Work,
}

/// A search in the box theta0 +- range.
pub struct BlackBox<'a> {
    problem: &'a Bilevel,
    settings: Settings,
    study: Study,
    /// The best so far, and its x, from which every trial's solve starts.
    pub theta: Tensor,
    pub x: Tensor,
    pub trials: Trials,
}

/// One trial.
pub struct Tried {
    /// The best g so far.
    pub best: f64,
    /// ||theta - the best before||; 0 where the trial was no better.
    pub moved: f64,
}

impl<'a> BlackBox<'a> {
    pub fn start(
        problem: &'a Bilevel,
        settings: Settings,
        sampler: Sampler,
        range: f64,
        theta: &Tensor,
        x: &Tensor,
    ) -> Result<BlackBox<'a>> {
        let around = |center: f64| Dimension::Float {
            low: center - range,
            high: center + range,
            log: false,
            step: None,
            values: None,
            points: None,
        };
        let centers = Vec::<f64>::try_from(theta.flatten(0, -1))?;
        let dimensions = centers.iter().enumerate().map(|(i, &center)| (format!("theta{i}"), around(center)));
        let header = Header {
            metric: "loss".into(),
            mode: Mode::Min,
            seed: settings.seed,
            sampler,
            pruner: Pruner::None,
            space: Space::new(dimensions.collect())?,
        };
        let (study, trials) = (Study::new(header), Trials::default());
        Ok(BlackBox { problem, settings, study, theta: theta.copy(), x: x.copy(), trials })
    }

    /// Goes on from what another search of the same problem had seen.
    pub fn load(&mut self, theta: Tensor, x: Tensor, trials: Trials) -> Result<()> {
        (self.theta, self.x) = (theta, x);
        for &value in &trials.values {
            self.propose().map(drop)?;
            self.close(value);
        }
        self.trials = trials;
        Ok(())
    }

    /// The accuracy of every solve.
    pub fn eps(&self) -> f64 {
        self.settings.eps0
    }

    /// Trials done.
    pub fn iteration(&self) -> u64 {
        self.trials.values.len() as u64
    }

    /// Whether the trials or the work are spent.
    pub fn over(&self) -> Option<Stop> {
        self.settings.over(self.iteration(), self.trials.work)
    }

    pub fn iterate(&mut self) -> Result<Tried> {
        let start = Instant::now();
        let theta = self.propose()?;
        let best = self.study.best().map_or(f64::INFINITY, |(_, value)| value);
        let tried = self.evaluate(&theta);
        let value = tried.as_ref().map(|(value, _)| *value);
        self.close(value);
        self.trials.values.push(value);
        let mut outcome = Tried { best, moved: 0.0 };
        if let Some((value, x)) = tried.filter(|(value, _)| *value < best) {
            outcome = Tried { best: value, moved: norm(&(&theta - &self.theta)) };
            (self.theta, self.x) = (theta, x);
        }
        self.trials.work.seconds += start.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// The next theta; its trial is open until it is closed.
    fn propose(&mut self) -> Result<Tensor> {
        let header = &self.study.header;
        let params = header.sampler.next(&self.study)?.unwrap_or_default();
        let theta = Tensor::from_slice(&header.space.numbers(&params)?);
        let state = State::Failed("no finite value".into());
        self.study.trials.push(Trial { params, state, reports: Vec::new(), spent: None });
        Ok(theta.to_device(self.theta.device()).view_as(&self.theta))
    }

    fn close(&mut self, value: Option<f64>) {
        if let (Some(trial), Some(value)) = (self.study.trials.last_mut(), value) {
            trial.state = State::Done(value);
        }
    }

    /// g at x to eps0, and that x.
    fn evaluate(&mut self, theta: &Tensor) -> Option<(f64, Tensor)> {
        let (lower, settings) = (&self.problem.lower, &self.settings);
        let curvature = lower.curvature(theta).ok()?;
        let (grad, momentum) = (|x: &Tensor| lower.grad_x(x, theta), settings.solver.momentum());
        let solution = accelerated_gradient(grad, &self.x, curvature, settings.eps0, settings.inner_cap, momentum);
        self.trials.work.gradients += solution.gradients as u64;
        let g = self.problem.upper.value_and_grad(&solution.x).0.to_kind(Kind::Double).double_value(&[]);
        g.is_finite().then_some((g, solution.x))
    }
}
