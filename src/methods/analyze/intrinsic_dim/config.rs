//! The experiment file of `reglab analyze intrinsic-dimension`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cart_pole::CartPole;
use super::toy;
use crate::config::Experiment;
use crate::data::DataConfig;
use crate::models::Arch;
use crate::params::projection::ProjectionKind;
use crate::run::Run;
use crate::train::TrainConfig;

/// The problem whose dimension is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Classification of the images of `[data]` by the network of `[model]`.
    #[default]
    Supervised,
    /// The toy problem whose dimension is known: `toy_groups`.
    Toy,
    /// Cart-pole by evolution strategies.
    CartPoleEs,
    /// Cart-pole by deep Q-learning.
    CartPoleDqn,
    /// No dimension: time and memory of a step with each projection.
    Cost,
}

/// The performance that is compared with the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Accuracy on the test images.
    #[default]
    Test,
    /// Accuracy on the training images: for labels that can only be memorized.
    Train,
}

/// What is destroyed in the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shuffle {
    #[default]
    None,
    /// One fixed permutation of the pixels of all images.
    Pixels,
    /// A random permutation of the training labels.
    Labels,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub task: Task,
    pub projection: ProjectionKind,
    /// The dimensions d that are tried, each above 0.
    pub dims: Vec<i64>,
    /// Runs at each d, each with its own theta_0 and P.
    #[schemars(range(min = 1))]
    pub runs: u64,
    /// Supervised: also train in the full space, as `[direct]` says.
    pub direct: bool,
    /// What performance counts as 100%; 0: the mean of the direct runs, for cart-pole the solved return.
    #[schemars(range(min = 0.0))]
    pub baseline: f64,
    /// d_int is the smallest d strictly above this share of the baseline, above 0 and at most 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    pub metric: Metric,
    pub shuffle: Shuffle,
    /// Adds this times the sum of squares of all weights (no biases) of the full theta to the loss.
    #[schemars(range(min = 0.0))]
    pub l2: f64,
    /// Resamples of the bootstrap.
    #[schemars(range(min = 1))]
    pub resamples: usize,
    /// Toy: D.
    #[schemars(range(min = 1))]
    pub toy_parameters: i64,
    /// Toy: blocks, the dimension to be found.
    #[schemars(range(min = 1))]
    pub toy_groups: i64,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            task: Task::default(),
            projection: ProjectionKind::default(),
            dims: vec![120, 140, 160, 180, 200],
            runs: 3,
            direct: true,
            baseline: 0.0,
            threshold: 0.9,
            metric: Metric::default(),
            shuffle: Shuffle::default(),
            l2: 0.0,
            resamples: 100,
            toy_parameters: 1000,
            toy_groups: 10,
        }
    }
}

/// What the agent does, and which failure ends an episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Push left or right; the pole may not fall (12 degrees) and the cart may not leave: 200 steps.
    #[default]
    CartPole,
    /// The same, but the cart may leave.
    PoleOnly,
    /// The same, but the pole may fall.
    CartOnly,
    /// A force in [-1, 1], the pole within 0.2 rad: 1000 steps.
    InvertedPendulum,
}

impl Variant {
    pub fn environment(self) -> CartPole {
        let usual = CartPole::default();
        match self {
            Variant::CartPole => usual,
            Variant::PoleOnly => CartPole { position_limit: f64::INFINITY, ..usual },
            Variant::CartOnly => CartPole { angle_limit: f64::INFINITY, ..usual },
            Variant::InvertedPendulum => CartPole { angle_limit: 0.2, ..usual },
        }
    }

    pub fn steps(self) -> i64 {
        if self == Variant::InvertedPendulum { 1000 } else { 200 }
    }

    /// The return that counts as solved.
    pub fn solved(self) -> f64 {
        0.975 * self.steps() as f64
    }
}

/// The reinforcement part.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reinforcement {
    pub variant: Variant,
    /// Widths of the hidden layers (tanh for evolution strategies, ReLU for Q-learning).
    pub hidden: Vec<i64>,
    /// Evolution strategies: what P theta_d is multiplied with.
    pub scale: f64,
    /// Evolution strategies: antithetic pairs.
    #[schemars(range(min = 1))]
    pub pairs: i64,
    /// Evolution strategies: standard deviation of the noise on theta_d, > 0.
    pub sigma: f64,
    /// Adam's rate, > 0.
    pub lr: f64,
    /// Evolution strategies: updates.
    #[schemars(range(min = 1))]
    pub iterations: u64,
    /// Evolution strategies: episodes that judge the result.
    #[schemars(range(min = 1))]
    pub judged: i64,
    /// Q-learning: episodes at most; solved when the last 100 have the solved return on average.
    #[schemars(range(min = 1))]
    pub episodes: u64,
}

impl Default for Reinforcement {
    fn default() -> Reinforcement {
        Reinforcement {
            variant: Variant::default(),
            hidden: vec![20, 20],
            scale: 10.0,
            pairs: 16,
            sigma: 0.3,
            lr: 0.15,
            iterations: 40,
            judged: 20,
            episodes: 10_000,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    pub data: DataConfig,
    pub model: Arch,
    /// Training of theta_d: rates 10 to 100 times those of the full space are normal, the directions have unit norm.
    pub train: TrainConfig,
    /// Training in the full space.
    pub direct: TrainConfig,
    /// Cart-pole.
    pub rl: Reinforcement,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let m = &self.method;
        let bad = m.dims.iter().find(|d| **d <= 0);
        ensure!(bad.is_none(), "method.dims holds {}; a dimension must be above 0", bad.unwrap_or(&0));
        ensure!(m.threshold > 0.0, "method.threshold = {} must be above 0 and at most 1", m.threshold);
        let direct_only = m.task == Task::Supervised && m.direct;
        ensure!(!m.dims.is_empty() || direct_only, "method.dims is empty: there is nothing to measure");
        match m.task {
            Task::Toy => toy::check(m.toy_parameters, m.toy_groups)?,
            Task::CartPoleEs | Task::CartPoleDqn => {
                let r = &self.rl;
                ensure!(r.hidden.iter().all(|n| *n > 0), "rl.hidden = {:?} must be positive everywhere", r.hidden);
                ensure!(r.sigma > 0.0, "rl.sigma = {} must be above 0", r.sigma);
                ensure!(r.lr > 0.0, "rl.lr = {} must be above 0", r.lr);
                let continuous = r.variant == Variant::InvertedPendulum;
                let discrete_only = m.task == Task::CartPoleDqn && continuous;
                ensure!(
                    !discrete_only,
                    "rl.variant = \"inverted-pendulum\" has continuous actions: it needs method.task = \"cart-pole-es\""
                );
            }
            Task::Supervised => {
                let known = m.direct || m.baseline > 0.0;
                ensure!(known, "method.direct = false leaves no baseline: method.baseline should be above 0");
            }
            Task::Cost => {}
        }
        self.data.check()?;
        self.train.check("train")?;
        self.direct.check("direct")
    }
}

impl Method {
    /// The dimensions, ascending, each once; what had to be put right is said.
    pub fn dimensions(&self, run: &mut Run) -> Vec<i64> {
        let mut dims = self.dims.clone();
        dims.sort_unstable();
        dims.dedup();
        if dims != self.dims {
            run.progress.warn(&format!("method.dims = {:?} was sorted, each value once: {dims:?}", self.dims));
        }
        dims
    }

    /// The given baseline.
    pub fn given_baseline(&self) -> Option<f64> {
        (self.baseline > 0.0).then_some(self.baseline)
    }
}
