//! The fields that choose a baseline.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::train::TrainConfig;

/// Who learns the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LearnerName {
    /// Cross entropy of the current batch.
    Finetune,
    /// The same over the current task's own columns (finetune++).
    FinetuneLocal,
    /// The upper bound: every task is trained on the data of all tasks so far.
    Joint,
    /// Only the classifier learns, on the features of the network as it came.
    LinearProbe,
    /// Experience replay.
    #[default]
    Er,
    /// Gradient episodic memory.
    Gem,
    /// Averaged GEM.
    Agem,
    /// Online elastic weight consolidation: one anchor, the importance averaged over tasks.
    Ewc,
    /// Elastic weight consolidation with an anchor and an importance for every task.
    EwcSeparate,
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
pub enum FisherBatch {
    /// Mini-batches of the training's size: the square of a batch's mean gradient.
    #[default]
    Batch,
    /// Single samples.
    Sample,
}

/// A baseline and its constants.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Baseline {
    /// finetune, finetune-local, joint, linear-probe, er, gem, agem, ewc, ewc-separate, l2, lwf or si. Default er.
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
    /// ewc, ewc-separate, l2: strength of the penalty, 0 or more. Default 1.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// ewc, ewc-separate: batch or sample. Default batch.
    pub fisher: FisherBatch,
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

impl Default for Baseline {
    fn default() -> Baseline {
        Baseline {
            learner: LearnerName::default(),
            memory: 1000,
            alpha: 0.5,
            gamma: 0.5,
            ridge: 1e-3,
            lambda: 1.0,
            fisher: FisherBatch::default(),
            distillation: 1.0,
            temperature: 2.0,
            c: 0.1,
            xi: 0.1,
        }
    }
}

impl Baseline {
    /// Contradictions within the table (in the experiment file: `[method]`) and with the training.
    pub fn check(&self, train: &TrainConfig) -> Result<()> {
        for (name, value) in [
            ("alpha", self.alpha),
            ("distillation", self.distillation),
            ("temperature", self.temperature),
            ("xi", self.xi),
        ] {
            ensure!(value > 0.0, "method.{name} = {value}, but it must be above 0");
        }
        ensure!(self.alpha < 1.0, "method.alpha = {}, but it must be below 1: nothing would be replayed", self.alpha);
        let smoothing = train.label_smoothing;
        ensure!(
            smoothing == 0.0,
            "train.label_smoothing = {smoothing}, but the learners' losses know none: it must be 0"
        );
        ensure!(
            train.accumulate == 1,
            "train.accumulate = {}, but it must be 1: a memory batch belongs to one step",
            train.accumulate
        );
        Ok(())
    }
}
