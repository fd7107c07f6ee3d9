//! The experiment file of `reglab hpo search`.

use anyhow::{Result, anyhow, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::objective::Objective;
use super::tables::{Cell, Tables};
use crate::config::Experiment;
use crate::search::{Header, Mode, Pruner, Sampler, Space, Study};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Method {
    /// The method whose runs are the trials.
    pub objective: String,
    /// Its preset. Empty: `quick`, unless there is a `file`.
    pub preset: String,
    /// Its experiment file, laid over the preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Which arm of the preset or file; needed where it has several.
    pub arm: String,
    /// Fields of the objective to change, each KEY=VALUE.
    pub overrides: Vec<String>,
    /// The number of the trials' summary.json that is tuned.
    pub metric: String,
    /// Which way it is better.
    pub mode: Mode,
    /// Another number of that summary, not looked at until the best trial is chosen: its test accuracy, say. Empty: none.
    pub test: String,
    pub sampler: Sampler,
    /// Early stopping of trials.
    pub pruner: Pruner,
    /// What the pruner judges a trial by while it runs: TABLE.COLUMN of its tables, at their column step. Empty: eval.METRIC.
    pub report: String,
    /// What a trial costs: the last number in TABLE.COLUMN of its tables. Empty: a trial is a unit.
    pub units: String,
    /// Trials in all.
    #[schemars(range(min = 1))]
    pub trials: usize,
    /// Trials at a time, each in a process of its own. With more than one, what tpe proposes depends on which end first.
    #[schemars(range(min = 1, max = 256))]
    pub jobs: usize,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            objective: String::new(),
            preset: String::new(),
            file: None,
            arm: String::new(),
            overrides: Vec::new(),
            metric: String::new(),
            mode: Mode::Min,
            test: String::new(),
            sampler: Sampler::Tpe,
            pruner: Pruner::None,
            report: String::new(),
            units: "eval.epoch".into(),
            trials: 20,
            jobs: 1,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    pub method: Method,
    /// The tuned keys: [space.KEY] with kind (float, int, categorical), low, high, log, step or choices; for grid values or points.
    pub space: Space,
}

impl Method {
    /// What is read of a trial beside its summary.
    pub fn tables(&self) -> Result<Tables> {
        let report = if self.report.is_empty() { format!("eval.{}", self.metric) } else { self.report.clone() };
        let report = Some(Cell::new("method.report", &report)?).filter(|_| self.pruner != Pruner::None);
        let units = if self.units.is_empty() { None } else { Some(Cell::new("method.units", &self.units)?) };
        Ok(Tables { report, units })
    }
}

impl Config {
    /// What the study is bound to.
    pub fn header(&self, seed: u64) -> Header {
        let Method { metric, mode, sampler, pruner, .. } = &self.method;
        Header {
            metric: metric.clone(),
            mode: *mode,
            seed,
            sampler: *sampler,
            pruner: *pruner,
            space: self.space.clone(),
        }
    }
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let method = &self.method;
        ensure!(
            !self.space.is_empty(),
            "the search space is empty: give at least one [space.KEY] of a key of the objective"
        );
        ensure!(!method.metric.is_empty(), "method.metric is empty: name a number of the objective's summary.json");
        method.pruner.check().map_err(|e| anyhow!("method.{e}"))?;
        method.tables()?;
        ensure!(
            method.sampler != Sampler::NelderMead || method.jobs == 1,
            "method.jobs = {}: nelder-mead runs one trial at a time, so it should be 1",
            method.jobs
        );
        // What a sampler cannot do with the space it says at the first trial.
        method.sampler.next(&Study::new(self.header(0)))?;
        Objective::new(method, &[])?.check(&self.space)
    }
}
