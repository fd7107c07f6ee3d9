//! The experiment file of `reglab prune wgsef`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use crate::config::Experiment;
use crate::data::DataConfig;
use crate::models::Arch;
use crate::pruning::scores::Criterion;
use crate::train::TrainConfig;

/// What drives groups to zero while the network trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Regularizer {
    /// The method: proximal steps on the weighted group sparse envelope.
    #[default]
    Wgsef,
    /// Proximal steps on the group lasso (Prox-SG): no control over the number of groups.
    GroupLasso,
    /// Hard top-k after every step from `iht_start` on.
    Iht,
    /// Proximal steps for `prox_epochs`, then half-space steps (Chen et al. 2021) on the envelope.
    Hspg,
    /// lambda sign(gamma) added to the gradients of all normalization scales (network slimming, Liu et al. 2017).
    Slimming,
    /// Ordinary training.
    None,
}

/// What one group is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// A whole channel: filter or row, bias, normalization scale and shift. A zero group is removed physically.
    #[default]
    Channel,
    /// A filter W[o,:,:,:] or row alone.
    Filter,
    /// An input channel W[:,c,:,:] or column.
    InChannel,
    /// A filter position W[:,c,i,j].
    FilterShape,
    /// A kernel W[o,c,:,:].
    Kernel,
    /// A whole layer.
    Layer,
    /// A single weight (the sparse envelope, SEF).
    Element,
}

/// The weights d_j.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GroupWeights {
    /// 1.
    #[default]
    One,
    /// 1 / group size.
    InverseSize,
    /// sqrt(group size).
    SqrtSize,
}

/// Over what the k groups compete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Each layer keeps its own k.
    #[default]
    Layer,
    /// One k for the whole network.
    Global,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub regularizer: Regularizer,
    /// What ranks the channels at the end; left out: z_j = sqrt(d_j) ||theta_j|| of the regularized groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<Criterion>,
    pub groups: GroupKind,
    pub scope: Scope,
    /// Share of groups to remove from each layer (or from the network): k = max(1, round((1 - sparsity) m)).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sparsity: f64,
    /// Groups to keep in each layer (or in the network); 0: from `sparsity`.
    #[schemars(range(min = 0))]
    pub k: i64,
    /// Where a layer has fewer than k groups: keep them all, instead of an error.
    pub clamp_k: bool,
    /// Strength of the penalty.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    pub weights: GroupWeights,
    /// HSPG: how far a trial point may turn before its group is set to zero.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// HSPG: epochs of proximal steps before the half-space steps.
    #[schemars(range(min = 0))]
    pub prox_epochs: u64,
    /// IHT: first epoch of the projections.
    #[schemars(range(min = 0))]
    pub iht_start: u64,
    /// Ignore the trained weights: train the cut network from new ones for all epochs together.
    pub from_scratch: bool,
    /// Weights to start from (safetensors of the same network).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// Plan only: print what would be removed and stop.
    pub dry_run: bool,
    /// Timed passes of the latency measurement, for each batch size and network (0: none).
    #[schemars(range(min = 0))]
    pub latency_runs: usize,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            regularizer: Regularizer::default(),
            selection: None,
            groups: GroupKind::default(),
            scope: Scope::default(),
            sparsity: 0.9,
            k: 0,
            clamp_k: false,
            lambda: 0.1,
            weights: GroupWeights::default(),
            eps: 0.0,
            prox_epochs: 10,
            iht_start: 0,
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
    pub train: TrainConfig,
    /// Training of the cut network with a fresh optimizer (epochs = 0: none).
    pub finetune: TrainConfig,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let m = &self.method;
        ensure!(m.sparsity < 1.0, "method.sparsity = {} would remove everything; it should be below 1", m.sparsity);
        ensure!(m.eps < 1.0, "method.eps = {} should be below 1", m.eps);
        let channel = m.groups == GroupKind::Channel;
        ensure!(channel || m.selection.is_none(), "method.selection needs method.groups = \"channel\"");
        ensure!(
            channel || !m.from_scratch,
            "method.from_scratch needs method.groups = \"channel\": nothing else is cut out"
        );
        self.data.check()?;
        self.train.check("train")?;
        self.finetune.check("finetune")
    }
}

impl Method {
    /// Groups to keep out of m. Errors if k is larger than m and may not be clamped.
    pub fn kept(&self, layer: &str, m: usize) -> Result<i64> {
        let m = m as i64;
        if self.k == 0 {
            return Ok((((1.0 - self.sparsity) * m as f64).round() as i64).max(1));
        }
        ensure!(
            self.k <= m || self.clamp_k,
            "method.k = {}, but {layer} has only {m} groups (method.clamp_k = true keeps them all)",
            self.k
        );
        Ok(self.k.min(m))
    }

    /// The weight d_j of a group of `size` values.
    pub fn weight(&self, size: i64) -> f64 {
        match self.weights {
            GroupWeights::One => 1.0,
            GroupWeights::InverseSize => 1.0 / size as f64,
            GroupWeights::SqrtSize => (size as f64).sqrt(),
        }
    }
}
