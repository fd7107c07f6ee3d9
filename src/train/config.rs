//! The `[train]` table.

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{OptimizerConfig, ScheduleConfig};
use crate::native::Autocast;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    #[default]
    Float32,
    /// Autocast to bfloat16 in the forward pass; weights and optimizer stay float32.
    Bf16,
}

impl Precision {
    /// A forward pass at this precision; what it returns is float32 either way.
    pub fn forward(self, device: Device, pass: impl FnOnce() -> Tensor) -> Result<Tensor> {
        match self {
            Precision::Float32 => Ok(pass()),
            Precision::Bf16 => {
                let _autocast = Autocast::new(device, Kind::BFloat16)?;
                Ok(pass().to_kind(Kind::Float))
            }
        }
    }
}

/// How a phase of ordinary training runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training set.
    #[schemars(range(min = 0))]
    pub epochs: u64,
    /// Optimizer steps in place of `epochs`; the last pass may stop in its middle (0: `epochs` decide).
    #[schemars(range(min = 0))]
    pub steps: u64,
    /// Samples a step.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// Leave out the last batch of an epoch when it is smaller than the others.
    pub drop_last: bool,
    /// Batches whose gradients are averaged for one optimizer step.
    #[schemars(range(min = 1))]
    pub accumulate: u64,
    /// Share of the target that is spread evenly over all classes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub label_smoothing: f64,
    /// Largest norm of the gradient of all parameters together (0: no clipping).
    #[schemars(range(min = 0.0))]
    pub clip_norm: f64,
    /// Decay of an exponential moving average of the weights, evaluated beside them (0: none).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ema: f64,
    pub precision: Precision,
    /// Steps between two rows of train.csv (an epoch's end always gives one).
    #[schemars(range(min = 1))]
    pub log_every: u64,
    /// Epochs between two evaluations (the last epoch is always evaluated).
    #[schemars(range(min = 1))]
    pub eval_every: u64,
    pub optimizer: OptimizerConfig,
    pub schedule: ScheduleConfig,
}

impl Default for TrainConfig {
    fn default() -> TrainConfig {
        TrainConfig {
            epochs: 10,
            steps: 0,
            batch: 128,
            drop_last: false,
            accumulate: 1,
            label_smoothing: 0.0,
            clip_norm: 0.0,
            ema: 0.0,
            precision: Precision::Float32,
            log_every: 50,
            eval_every: 1,
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
        }
    }
}

impl TrainConfig {
    /// What the field ranges cannot say; `section` is the table's name in the file.
    pub fn check(&self, section: &str) -> Result<()> {
        self.optimizer.check().with_context(|| format!("{section}.optimizer"))?;
        self.schedule.check().with_context(|| format!("{section}.schedule"))
    }
}
