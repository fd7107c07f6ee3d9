//! A study: its header and its trials, as the journal's events have left them.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::journal::Event;
use super::{Params, Pruner, Sampler, Space};

/// Which way the metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Min,
    Max,
}

impl Mode {
    /// The value as something to minimise.
    pub fn loss(self, value: f64) -> f64 {
        match self {
            Mode::Min => value,
            Mode::Max => -value,
        }
    }
}

/// What a study is bound to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Name of the metric in summary.json.
    pub metric: String,
    pub mode: Mode,
    pub seed: u64,
    pub sampler: Sampler,
    pub pruner: Pruner,
    pub space: Space,
}

impl Header {
    /// A study goes on only with the header it was begun with.
    pub fn check(&self, given: &Header) -> Result<()> {
        if let Some(key) = self.space.difference(&given.space) {
            anyhow::bail!(
                "the study was begun with another [space.{key}]: its trials would not compare; begin a new study"
            );
        }
        let same = |key: &str, mine: &dyn std::fmt::Debug, given: &dyn std::fmt::Debug| {
            let (mine, given) = (format!("{mine:?}"), format!("{given:?}"));
            ensure!(mine == given, "the study was begun with {key} = {mine}, not {given}; begin a new study");
            Ok(())
        };
        same("metric", &self.metric, &given.metric)?;
        same("mode", &self.mode, &given.mode)?;
        same("seed", &self.seed, &given.seed)?;
        same("sampler", &self.sampler, &given.sampler)?;
        same("pruner", &self.pruner, &given.pruner)
    }
}

/// The process that began a trial, for whoever reads the journal: whether it still lives is told by the lock of the study's
/// folder, which the system drops when it dies, not by its number, which another process may have by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub host: String,
    pub pid: u32,
}

/// Where a trial stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Running(Owner),
    /// Its owner died: it is to be run again, same parameters and seed, from its last checkpoint.
    Interrupted,
    Done(f64),
    /// Stopped early, with its last reported value.
    Pruned,
    Failed(String),
}

/// One set of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub params: Params,
    pub state: State,
    /// (step, value), as reported.
    pub reports: Vec<(u64, f64)>,
    /// What it had cost when it was over.
    pub spent: Option<Spent>,
}

/// The two axes searches are compared on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Of the study's work when the trial was over.
    pub seconds: f64,
    /// Units of work of the trial alone.
    pub units: f64,
}

impl Trial {
    /// What samplers and the table know it by: its final value, or the last one reported before it was pruned.
    pub fn value(&self) -> Option<f64> {
        match self.state {
            State::Done(value) => Some(value),
            State::Pruned => self.reports.last().map(|(_, value)| *value),
            State::Running(_) | State::Interrupted | State::Failed(_) => None,
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    fn end(&mut self, state: State, spent: Spent) {
        self.state = state;
        self.spent = Some(spent);
    }
}

/// The header and all trials, by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    pub header: Header,
    pub trials: Vec<Trial>,
}

impl Study {
    pub fn new(header: Header) -> Study {
        Study { header, trials: Vec::new() }
    }

    /// Takes in one event. An event that does not fit the trials so far is an error.
    pub fn apply(&mut self, event: &Event) -> Result<()> {
        if let Event::Created { trial, params, owner } = event {
            ensure!(*trial == self.trials.len(), "trial {trial} is created, but {} is next", self.trials.len());
            let state = State::Running(owner.clone());
            self.trials.push(Trial { params: params.clone(), state, reports: Vec::new(), spent: None });
            return Ok(());
        }
        let trials = self.trials.len();
        let number = event.trial();
        ensure!(number < trials, "trial {number} is named, but there are {trials}");
        let trial = &mut self.trials[number];
        match event {
            Event::Created { .. } => {}
            Event::Report { step, value, .. } => {
                // A trial that goes on from a checkpoint reports some steps again.
                while trial.reports.last().is_some_and(|(last, _)| last >= step) {
                    trial.reports.pop();
                }
                trial.reports.push((*step, *value));
            }
            Event::Done { value, spent, .. } => trial.end(State::Done(*value), *spent),
            Event::Pruned { spent, .. } => trial.end(State::Pruned, *spent),
            Event::Failed { reason, spent, .. } => trial.end(State::Failed(reason.clone()), *spent),
            Event::Interrupted { .. } => trial.state = State::Interrupted,
            Event::Restarted { owner, .. } => trial.state = State::Running(owner.clone()),
        }
        Ok(())
    }

    /// The finished trial with the best value.
    pub fn best(&self) -> Option<(usize, f64)> {
        let done = self.trials.iter().enumerate().filter(|(_, trial)| trial.is_done());
        let valued = done.filter_map(|(i, trial)| trial.value().map(|value| (i, value)));
        valued.min_by(|a, b| self.header.mode.loss(a.1).total_cmp(&self.header.mode.loss(b.1)))
    }

    /// Numbers of all trials with a value, best first: the finished by value, then the pruned, those that went further first.
    pub fn ranked(&self) -> Vec<usize> {
        let rank = |i: &usize| {
            let trial = &self.trials[*i];
            let last = trial.reports.last().map_or(0, |(step, _)| *step);
            let loss = trial.value().map_or(f64::INFINITY, |value| self.header.mode.loss(value));
            (!trial.is_done(), if trial.is_done() { 0 } else { u64::MAX - last }, loss)
        };
        let mut with_value: Vec<usize> = (0..self.trials.len()).filter(|&i| self.trials[i].value().is_some()).collect();
        with_value.sort_by(|a, b| {
            let (a, b) = (rank(a), rank(b));
            a.0.cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.total_cmp(&b.2))
        });
        with_value
    }
}
