//! The fields that every experiment file has, whatever its method.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Header {
    /// Label of the compared variant this run belongs to; part of the run's folder name.
    pub arm: String,
    /// Label of the preset or file the run came from; part of the run's folder name.
    pub preset: String,
    /// Seed of the whole run: initial values, data order, augmentation, noise.
    #[schemars(range(min = 0))]
    pub seed: u64,
    /// Where to compute: `cpu`, `cuda`, `cuda:1`, or `auto` (the first GPU, if there is one).
    pub device: String,
    /// CPU threads (0: one for each physical core).
    #[schemars(range(min = 0, max = 1024))]
    pub threads: usize,
    /// Keep a TensorBoard event file of the tables in the run folder, too.
    pub tensorboard: bool,
    pub checkpoint: CheckpointConfig,
}

impl Default for Header {
    fn default() -> Header {
        Header {
            arm: String::new(),
            preset: String::new(),
            seed: 0,
            device: "auto".into(),
            threads: 0,
            tensorboard: false,
            checkpoint: CheckpointConfig::default(),
        }
    }
}

impl Header {
    pub fn owns(key: &str) -> bool {
        ["arm", "preset", "seed", "device", "threads", "tensorboard", "checkpoint"].contains(&key)
    }
}

/// When checkpoints are written and which are kept. Phase ends are always written and kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Write one every so many steps (0: by time only).
    #[schemars(range(min = 0))]
    pub every_steps: u64,
    /// Write one when so many seconds have passed since the last.
    #[schemars(range(min = 0.0))]
    pub every_seconds: f64,
    /// How many of them to keep.
    #[schemars(range(min = 1))]
    pub keep_last: usize,
    /// Evaluation metric (a column of eval.csv, higher is better) whose best checkpoint is kept too; empty: none.
    pub best: String,
}

impl Default for CheckpointConfig {
    fn default() -> CheckpointConfig {
        CheckpointConfig { every_steps: 0, every_seconds: 60.0, keep_last: 2, best: String::new() }
    }
}
