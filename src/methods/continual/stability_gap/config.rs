//! The experiment file of `reglab continual stability-gap`.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Experiment;
use crate::continual::baselines::Baseline;
use crate::continual::config::{EvaluationConfig, StreamConfig};
use crate::data::DataConfig;
use crate::models::Arch;
use crate::train::TrainConfig;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The learner that the protocol is run on.
    pub method: Baseline,
    pub stream: StreamConfig,
    pub evaluation: EvaluationConfig,
    pub data: DataConfig,
    pub model: Arch,
    /// Training of each task, with a fresh optimizer.
    pub train: TrainConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            method: Baseline::default(),
            stream: StreamConfig { tasks: 5, ..StreamConfig::default() },
            evaluation: EvaluationConfig::default(),
            data: DataConfig::default(),
            model: Arch::default(),
            train: TrainConfig::default(),
        }
    }
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        self.method.check(&self.train)?;
        self.stream.check(&self.data)?;
        self.evaluation.check()?;
        self.data.check()?;
        self.train.check("train")
    }
}
