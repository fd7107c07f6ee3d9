//! The experiment file of `reglab analyze dynamical-stability`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::stability::Sampling;
use crate::config::Experiment;
use crate::data::DataConfig;
use crate::metrics::curvature::{Loss, Matrix};
use crate::models::Arch;
use crate::train::TrainConfig;

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// A network: the one of `weights`, or that of `[model]` trained as `[train]` says.
    #[default]
    Network,
    /// The paper's diagonal linear net f(x) = <u o v, x>, one model a rate, all stacked.
    Diagonal,
    /// The paper's two-layer ReLU net f(x) = sum_j a_j relu(w_j^T x), one model a rate, all stacked.
    Relu,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub problem: Problem,
    /// Diagonal, relu: the learning rates eta, one model each, > 0. (A network's rate and batch are those of `[train]`.)
    pub rates: Vec<f64>,
    /// Diagonal: unbalanced starts r(theta_0) >= 1, one model each at the only rate; empty: a standard normal start.
    pub ratios: Vec<f64>,
    /// Diagonal, relu: independent data sets and starts, each with all models.
    #[schemars(range(min = 1))]
    pub replicas: i64,
    /// Diagonal, relu: values of an input, d.
    #[schemars(range(min = 1))]
    pub inputs: i64,
    /// Relu: units m.
    #[schemars(range(min = 1))]
    pub width: i64,
    /// Diagonal, relu: training examples n.
    #[schemars(range(min = 1))]
    pub examples: i64,
    /// Diagonal, relu: test examples.
    #[schemars(range(min = 1))]
    pub test: i64,
    /// Diagonal: ones in the true coefficients; relu: units of the teacher.
    #[schemars(range(min = 1))]
    pub teacher: i64,
    /// Diagonal, relu: examples a step, B; 0: all of them, gradient descent.
    #[schemars(range(min = 0))]
    pub batch: i64,
    /// Whether the examples of a batch are drawn with replacement.
    pub replacement: bool,
    /// Diagonal, relu: the longest gradient of a model (0: no clipping).
    #[schemars(range(min = 0.0))]
    pub clip: f64,
    /// Diagonal, relu: the rate falls to 0 as a cosine; bounds are always those of the rate before the decay.
    pub cosine: bool,
    /// Diagonal, relu: steps at most.
    #[schemars(range(min = 1))]
    pub steps: u64,
    /// Diagonal, relu: training ends when the loss of every model is below this.
    #[schemars(range(min = 0.0))]
    pub tolerance: f64,
    /// Diagonal, relu: steps between two looks at the loss.
    #[schemars(range(min = 1))]
    pub every: u64,
    /// Network: the checkpoint to measure (safetensors); nothing is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Network: what it is trained on and measured with.
    pub loss: Loss,
    /// Network: the matrix that is probed.
    pub matrix: Matrix,
    /// Network: Hutchinson's probes.
    #[schemars(range(min = 1))]
    pub probes: i64,
    /// Network: Lanczos steps.
    #[schemars(range(min = 1))]
    pub lanczos: usize,
    /// Network: the Gauss-Newton matrix from all per-example gradients, too: (examples x classes) x parameters numbers.
    pub exact: bool,
    /// Network: examples a pass of the probes.
    #[schemars(range(min = 1))]
    pub chunk: usize,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            problem: Problem::default(),
            rates: vec![0.01],
            ratios: Vec::new(),
            replicas: 1,
            inputs: 200,
            width: 40,
            examples: 60,
            test: 2000,
            teacher: 3,
            batch: 1,
            replacement: true,
            clip: 0.0,
            cosine: false,
            steps: 40_000,
            tolerance: 1e-10,
            every: 1000,
            weights: None,
            loss: Loss::default(),
            matrix: Matrix::default(),
            probes: 64,
            lanczos: 30,
            exact: false,
            chunk: 256,
        }
    }
}

impl Method {
    pub fn is_gradient_descent(&self) -> bool {
        self.batch == 0
    }

    /// How the model problems draw their batches.
    pub fn sampling(&self) -> Sampling {
        match self.is_gradient_descent() {
            true => Sampling { batch: self.examples, replacement: false },
            false => Sampling { batch: self.batch, replacement: self.replacement },
        }
    }

    fn check_model_problem(&self) -> Result<()> {
        ensure!(!self.rates.is_empty(), "method.rates is empty; one learning rate at least is needed");
        let bad = self.rates.iter().find(|eta| !(**eta > 0.0 && eta.is_finite()));
        ensure!(bad.is_none(), "method.rates holds {}; a learning rate must be above 0", bad.unwrap_or(&0.0));
        let rising = |list: &[f64]| list.windows(2).all(|pair| pair[0] < pair[1]);
        ensure!(rising(&self.rates), "method.rates = {:?} must rise", self.rates);
        ensure!(rising(&self.ratios), "method.ratios = {:?} must rise", self.ratios);
        let n = self.examples;
        ensure!(
            self.replacement || self.batch <= n,
            "method.batch = {} without replacement, but there are {n} examples",
            self.batch
        );
        ensure!(self.weights.is_none(), "method.weights needs method.problem = \"network\"");
        if let Some(low) = self.ratios.iter().find(|r| !(**r >= 1.0 && r.is_finite())) {
            anyhow::bail!("method.ratios holds {low}; a balance ratio is at least 1");
        }
        if !self.ratios.is_empty() {
            ensure!(self.problem == Problem::Diagonal, "method.ratios needs method.problem = \"diagonal\"");
            ensure!(
                self.rates.len() == 1,
                "method.ratios needs exactly one rate, method.rates has {}",
                self.rates.len()
            );
        }
        if self.problem == Problem::Diagonal {
            ensure!(
                self.teacher <= self.inputs,
                "method.teacher = {} is more than {} inputs",
                self.teacher,
                self.inputs
            );
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    /// Network: the set that is trained and measured on.
    pub data: DataConfig,
    /// Network: its architecture, where the checkpoint does not name it.
    pub model: Arch,
    /// Network: its training; `optimizer.lr` and `batch` are also the eta and B of the bounds.
    pub train: TrainConfig,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        if self.method.problem != Problem::Network {
            return self.method.check_model_problem();
        }
        let eta = self.train.optimizer.lr;
        ensure!(eta > 0.0, "train.optimizer.lr = {eta} must be above 0: the bounds are 2/eta");
        self.data.check()?;
        self.train.check("train")
    }
}
