//! The experiment file of `reglab continual stability-gap`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Experiment;
use crate::continual::config::{EvaluationConfig, StreamConfig};
use crate::data::DataConfig;
use crate::models::Arch;
use crate::train::TrainConfig;

/// Who learns the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LearnerName {
    /// Cross entropy of the current batch.
    Finetune,
    /// The same over the current task's own columns.
    FinetuneLocal,
    /// The upper bound: every task is trained on the data of all tasks so far.
    Joint,
    /// Experience replay.
    #[default]
    Er,
    /// Gradient episodic memory.
    Gem,
    /// Averaged GEM.
    Agem,
    /// Online elastic weight consolidation.
    Ewc,
    /// EWC with importance 1 everywhere: the L2 anchor.
    L2,
    /// Learning without forgetting.
    Lwf,
    /// Synaptic intelligence.
    Si,
}

/// Over what the Fisher information averages squared gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fisher {
    /// Mini-batches of the training's size: the square of a batch's mean gradient.
    #[default]
    Batch,
    /// Single samples.
    Sample,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    /// finetune, finetune-local, joint, er, gem, agem, ewc, l2, lwf or si. Default er.
    pub learner: LearnerName,
    /// er, gem, agem: samples remembered over the whole stream, at least one a class (gem: a task). Default 1000.
    #[schemars(range(min = 1))]
    pub memory: usize,
    /// er: weight of the new batch's loss, above 0 and below 1. Default 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// gem: smallest weight of each memory gradient in a projection (the margin), 0 or more. Default 0.5.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
    /// gem: added to the diagonal of the quadratic form, 0 or more. Default 0.001.
    #[schemars(range(min = 0.0))]
    pub ridge: f64,
    /// ewc, l2: strength of the penalty, 0 or more. Default 1.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// ewc: batch or sample. Default batch.
    pub fisher: Fisher,
    /// lwf: weight of the distillation, above 0. Default 1.
    #[schemars(range(min = 0.0))]
    pub distillation: f64,
    /// lwf: temperature of both softmaxes, above 0. Default 2.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
    /// si: strength of the penalty, 0 or more. Default 0.1.
    #[schemars(range(min = 0.0))]
    pub c: f64,
    /// si: damping of the importance where weights hardly moved, above 0. Default 0.1.
    #[schemars(range(min = 0.0))]
    pub xi: f64,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            learner: LearnerName::default(),
            memory: 1000,
            alpha: 0.5,
            gamma: 0.5,
            ridge: 1e-3,
            lambda: 1.0,
            fisher: Fisher::default(),
            distillation: 1.0,
            temperature: 2.0,
            c: 0.1,
            xi: 0.1,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
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
            method: Method::default(),
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
        let m = &self.method;
        for (name, value) in
            [("alpha", m.alpha), ("distillation", m.distillation), ("temperature", m.temperature), ("xi", m.xi)]
        {
            ensure!(value > 0.0, "method.{name} = {value}, but it must be above 0");
        }
        ensure!(m.alpha < 1.0, "method.alpha = {}, but it must be below 1: nothing would be replayed", m.alpha);
        let smoothing = self.train.label_smoothing;
        ensure!(
            smoothing == 0.0,
            "train.label_smoothing = {smoothing}, but the learners' losses know none: it must be 0"
        );
        ensure!(
            self.train.accumulate == 1,
            "train.accumulate = {}, but it must be 1: a memory batch belongs to one step",
            self.train.accumulate
        );
        self.stream.check()?;
        self.evaluation.check()?;
        self.data.check()?;
        self.train.check("train")
    }
}
