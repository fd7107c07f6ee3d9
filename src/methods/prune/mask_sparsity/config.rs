//! The experiment file of `reglab prune mask-sparsity`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::masks::Consensus;
use super::regularizer::Regularizer;
use crate::config::Experiment;
use crate::data::DataConfig;
use crate::models::Arch;
use crate::pruning::scores::{Criterion, Normalizer};
use crate::train::TrainConfig;

/// Which scales are penalized in the network that is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Penalized {
    /// The method: those of the channels that will go.
    #[default]
    Masked,
    /// All in scope (network slimming): the network of the phase `global` is cut.
    All,
    /// None: the baseline is cut as it is.
    None,
}

/// Whose weights decide about the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Those at the end of the phase `global`, in which all scales in scope are penalized.
    #[default]
    Global,
    /// Those of the baseline.
    Baseline,
}

/// How the mask is read off the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// |gamma| > `threshold` stays.
    #[default]
    Threshold,
    /// Optimal thresholding: in each layer the smallest scales that hold `energy` of the sum of squares go.
    Energy,
    /// The share `fraction` with the lowest scores of all layers together goes.
    Quantile,
    /// The share `fraction` with the lowest scores of each layer goes.
    Uniform,
}

/// Which channels may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Those inside the blocks, which no addition couples.
    #[default]
    Inner,
    /// The residual streams, too: their layers vote on one mask.
    All,
}

/// What decides in the end about what is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PruneBy {
    /// The mask: the planned cost is met exactly.
    #[default]
    Mask,
    /// |gamma| > `threshold` after training.
    Threshold,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub penalized: Penalized,
    /// R: l1, l2 or smooth-l1 (linear below lr s; the official option).
    pub regularizer: Regularizer,
    /// Strength of the penalty.
    #[schemars(range(min = 0.0))]
    pub s: f64,
    pub source: Source,
    pub rule: Rule,
    /// What channels are ranked by in the rules quantile and uniform.
    pub criterion: Criterion,
    /// How scores of different layers are made comparable (rule quantile).
    pub normalizer: Normalizer,
    /// tau.
    #[schemars(range(min = 0.0))]
    pub threshold: f64,
    /// Rule energy: share of the sum of squares that goes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub energy: f64,
    /// Rules quantile and uniform: share of the channels that goes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fraction: f64,
    /// In place of `fraction`: share of the multiply-accumulates that may stay; the smallest fraction that meets it is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub macs: Option<f64>,
    /// Channels a layer keeps at least.
    #[schemars(range(min = 1))]
    pub min_channels: usize,
    pub scope: Scope,
    /// How the layers of a residual stream agree on one mask.
    pub consensus: Consensus,
    /// A mask of your own (safetensors: one uint8 tensor a normalization layer, 1 = stays) in place of source and rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_file: Option<PathBuf>,
    /// Layers that the mask file does not name stay whole, in place of an error.
    pub allow_missing: bool,
    /// Where the phase `sparse` starts: baseline or global.
    pub init_from: Source,
    pub prune_by: PruneBy,
    /// Ignore the trained weights: `finetune` trains the cut network from new ones.
    pub from_scratch: bool,
    /// Weights of the baseline (safetensors of the same network); the phase `baseline` is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// Plan only: print what would be removed from the weights as they are and stop.
    pub dry_run: bool,
    /// Timed passes of the latency measurement, for each batch size and network (0: none).
    #[schemars(range(min = 0))]
    pub latency_runs: usize,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            penalized: Penalized::default(),
            regularizer: Regularizer::default(),
            s: 5e-4,
            source: Source::default(),
            rule: Rule::default(),
            criterion: Criterion::Bn,
            normalizer: Normalizer::None,
            threshold: 0.01,
            energy: 1e-4,
            fraction: 0.5,
            macs: None,
            min_channels: 1,
            scope: Scope::default(),
            consensus: Consensus::default(),
            mask_file: None,
            allow_missing: false,
            init_from: Source::Baseline,
            prune_by: PruneBy::default(),
            from_scratch: false,
            start: None,
            dry_run: false,
            latency_runs: 100,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    pub data: DataConfig,
    pub model: Arch,
    /// Training of the baseline.
    pub train: TrainConfig,
    /// Training with a penalty: the phases `global` and `sparse`.
    pub sparse: TrainConfig,
    /// Training of the cut network with a fresh optimizer (epochs = 0: none).
    pub finetune: TrainConfig,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let m = &self.method;
        ensure!(m.fraction < 1.0, "method.fraction = {} would remove everything; it should be below 1", m.fraction);
        let by_share = matches!(m.rule, Rule::Quantile | Rule::Uniform);
        ensure!(m.macs.is_none() || by_share, "method.macs needs method.rule = \"quantile\" or \"uniform\"");
        ensure!(
            by_share || m.criterion == Criterion::Bn,
            "method.rule = \"{}\" reads scales: method.criterion should be \"bn\"",
            if m.rule == Rule::Energy { "energy" } else { "threshold" }
        );
        self.data.check()?;
        self.train.check("train")?;
        self.sparse.check("sparse")?;
        self.finetune.check("finetune")
    }
}
