//! The experiment file of `reglab prune polarization`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::losses::{Activation, Ramp};
use crate::config::Experiment;
use crate::data::DataConfig;
use crate::models::Arch;
use crate::pruning::scores::Criterion;
use crate::train::TrainConfig;

/// How it is found out what goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approach {
    /// The method: gates.
    #[default]
    Gates,
    /// Nothing goes.
    Dense,
    /// As many blocks as `target` leaves, by chance, from new weights.
    RandomBlocks,
    /// The channels inside the blocks that `criterion` ranks lowest, until the cost is that of `target`.
    Criterion,
    /// Zhuang et al. 2020: polarized normalization scales, cut at their largest gap.
    BnPolar,
}

/// What a gate opens and closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// The residual branch of a block with an identity shortcut.
    #[default]
    Layer,
    /// A channel inside a block (or, in a network without blocks, of a layer).
    Channel,
}

/// cost_l.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateCost {
    /// The multiply-accumulates that the gate controls.
    #[default]
    Macs,
    /// 1.
    Equal,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub approach: Approach,
    pub gates: GateKind,
    /// t: share of the gated cost that shall stay.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub target: f64,
    pub cost: GateCost,
    /// Hidden units of a gate.
    #[schemars(range(min = 1))]
    pub gate_hidden: i64,
    /// pi above it opens a gate, gbar above it keeps the block.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    #[schemars(range(min = 0.0))]
    pub lambda_act: f64,
    #[schemars(range(min = 0.0))]
    pub lambda_polar: f64,
    /// L_act: target, hinge or l1 (which has no target: it closes gates until the task objects).
    pub activation: Activation,
    /// r: share of the steps before it rises, and in which it rises to 1.
    pub ramp: Ramp,
    /// The penalties see pi in place of g (an ablation).
    pub soft_penalty: bool,
    /// Blocks that each stage keeps at least (layer gates), those opened most often.
    pub min_blocks: usize,
    /// Training samples that vote on the consensus (0: all).
    pub consensus_samples: usize,
    /// Ignore the trained weights: `train` trains the network that was found from new ones.
    pub from_scratch: bool,
    /// approach = "criterion": what channels are ranked by.
    pub criterion: Criterion,
    /// Weight of the penalty on normalization scales: criterion = "bn" (network slimming) and approach = "bn-polar".
    #[schemars(range(min = 0.0))]
    pub gamma_weight: f64,
    /// approach = "bn-polar": the t of R(gamma).
    #[schemars(range(min = 0.0))]
    pub gamma_t: f64,
    /// Timed passes of the latency measurement, for each batch size and network (0: none).
    #[schemars(range(min = 0))]
    pub latency_runs: usize,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            approach: Approach::default(),
            gates: GateKind::default(),
            target: 0.5,
            cost: GateCost::default(),
            gate_hidden: 8,
            threshold: 0.5,
            lambda_act: 4.0,
            lambda_polar: 2.0,
            activation: Activation::default(),
            ramp: Ramp::default(),
            soft_penalty: false,
            min_blocks: 0,
            consensus_samples: 0,
            from_scratch: false,
            criterion: Criterion::L1,
            gamma_weight: 1e-4,
            gamma_t: 1.2,
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
    /// Training of the cut network with a fresh optimizer (epochs = 0: none, as the method wants it).
    pub finetune: TrainConfig,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let m = &self.method;
        m.ramp.check()?;
        if m.approach == Approach::Gates {
            // gbar (1 - gbar) of a single sample is 0: nothing would polarize.
            ensure!(
                self.train.batch >= 8,
                "train.batch = {} is too small for a vote; it should be 8 or more",
                self.train.batch
            );
            ensure!(
                self.train.accumulate == 1,
                "train.accumulate = {} would let each part vote for itself; it should be 1",
                self.train.accumulate
            );
        }
        self.data.check()?;
        self.train.check("train")?;
        self.finetune.check("finetune")
    }
}
