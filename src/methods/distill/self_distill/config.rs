//! The experiment file of `reglab distill self-distill`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::kernel::Kernel;
use super::loss::{Form, RegForm};
use crate::config::Experiment;
use crate::data::{DataConfig, noise::LabelNoise};
use crate::models::Arch;
use crate::train::TrainConfig;

/// What is distilled into itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// Kernel ridge regression, every step in closed form.
    #[default]
    Kernel,
    /// The network of `[model]`, trained as `[train]` says.
    Network,
}

/// Where the inputs and targets come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The images of `[data]` with the labels of `[noise]`, one-hot.
    #[default]
    Images,
    /// The paper's eleven noisy points of a sine (kernel only).
    Toy,
    /// Kernel matrices and targets that somebody else made: `method.file` (kernel only).
    File,
}

/// What is fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Procedure {
    /// The chain of self-distillation steps.
    #[default]
    Chain,
    /// Where the chain with a constant alpha ends: one ridge fit with penalty lambda/alpha (kernel only).
    Limit,
    /// No distillation: one ridge fit with the value of `lambdas` that is best on validation data (kernel only).
    TunedLambda,
}

/// The weights of the labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Alpha {
    /// The same in every step.
    Constant(f64),
    /// One a step.
    PerStep(Vec<f64>),
    Rule(Rule),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The weight that is best for the step on validation data, in closed form; for networks its estimate from one extra
    /// training.
    Optimal,
    /// One chain for each value of `grid`; the one with the smallest validation error at its last step is chosen.
    Grid,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub model: ModelKind,
    pub source: Source,
    /// source = "file": npz or safetensors with the matrices k [n,n] and k_test [m,n] (k_val, if there is one) and the targets
    /// y [n,c], y_test (y_val).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    pub procedure: Procedure,
    /// Steps of the chain. A kernel's step 1 is plain ridge regression; a network's step 0 is training on labels alone, and
    /// these are the distillation steps after it.
    #[schemars(range(min = 1))]
    pub steps: usize,
    /// Weight of the LABELS (1 - alpha is the teacher's), in [0,1]: a number, a list of one number a step, optimal or grid. At
    /// a kernel's first step it has no effect.
    pub alpha: Alpha,
    /// Keep weights in [0,1]; without, an optimal weight may leave them.
    pub clip: bool,
    /// alpha = "grid": the weights that are tried.
    pub grid: Vec<f64>,
    /// Kernel: rbf, linear, polynomial or laplace, with its own fields.
    pub kernel: Kernel,
    /// Kernel: the penalty, added to the diagonal of K as it is (no 1/n).
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// procedure = "tuned-lambda": the penalties that are tried.
    pub lambdas: Vec<f64>,
    /// Kernel: diagonalise K for spectral.csv, the limit and their plots (about ten times the cost of the chain).
    pub spectral: bool,
    /// Network: what is compared with the targets.
    pub form: Form,
    /// Network: factor of the penalty on all parameters.
    #[schemars(range(min = 0.0))]
    pub reg: f64,
    /// Network: squared (1/2 sum w^2, the paper's) or norm (sum of norms, the published code's).
    pub reg_form: RegForm,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            model: ModelKind::default(),
            source: Source::default(),
            file: None,
            procedure: Procedure::default(),
            steps: 5,
            alpha: Alpha::Rule(Rule::Optimal),
            clip: true,
            grid: (0..=10).map(|tenth| f64::from(tenth) / 10.0).collect(),
            kernel: Kernel::default(),
            lambda: 0.1,
            lambdas: (-8..=12).map(|quarter| 10f64.powf(f64::from(quarter) / 4.0)).collect(),
            spectral: true,
            form: Form::default(),
            reg: 1e-4,
            reg_form: RegForm::default(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    pub data: DataConfig,
    /// Wrong labels among training and validation data; test labels stay true.
    pub noise: LabelNoise,
    /// The network of method.model = "network".
    pub model: Arch,
    /// How each network is trained.
    pub train: TrainConfig,
}

impl Method {
    /// Whether weights or penalties are chosen on validation data.
    pub fn needs_validation(&self) -> bool {
        match self.procedure {
            Procedure::Chain => matches!(self.alpha, Alpha::Rule(_)),
            Procedure::Limit => false,
            Procedure::TunedLambda => true,
        }
    }

    /// What needs validation data, as the file says it.
    pub fn validated_field(&self) -> &'static str {
        match (self.procedure, &self.alpha) {
            (Procedure::TunedLambda, _) => "method.procedure = \"tuned-lambda\"",
            (_, Alpha::Rule(Rule::Grid)) => "method.alpha = \"grid\"",
            _ => "method.alpha = \"optimal\"",
        }
    }

    fn check_weights(&self) -> Result<()> {
        let given: &[f64] = match &self.alpha {
            Alpha::Constant(alpha) => std::slice::from_ref(alpha),
            Alpha::PerStep(list) => {
                ensure!(
                    list.len() == self.steps,
                    "method.alpha has {} weights for method.steps = {}; it needs one a step",
                    list.len(),
                    self.steps
                );
                list
            }
            Alpha::Rule(Rule::Grid) => {
                ensure!(!self.grid.is_empty(), "method.grid = [] should hold the weights to try");
                &self.grid
            }
            Alpha::Rule(Rule::Optimal) => &[],
        };
        for alpha in given {
            ensure!(alpha.is_finite(), "method.alpha = {alpha} should be a finite number");
            ensure!(
                !self.clip || (0.0..=1.0).contains(alpha),
                "method.alpha = {alpha} lies outside [0, 1]; method.clip = false allows that"
            );
        }
        Ok(())
    }

    fn check_kernel(&self) -> Result<()> {
        self.kernel.check().map_err(|error| error.context("method.kernel"))?;
        ensure!(
            self.file.is_some() == (self.source == Source::File),
            "method.file and method.source = \"file\" go together"
        );
        if self.procedure == Procedure::Limit {
            let Alpha::Constant(alpha) = self.alpha else {
                anyhow::bail!("method.procedure = \"limit\" needs one constant number as method.alpha");
            };
            ensure!((0.0..=1.0).contains(&alpha), "method.alpha = {alpha} has no limit; it should be in [0, 1]");
        }
        if self.procedure == Procedure::TunedLambda {
            ensure!(!self.lambdas.is_empty(), "method.lambdas = [] should hold the penalties to try");
            let bad = self.lambdas.iter().find(|lambda| !(lambda.is_finite() && **lambda > 0.0));
            ensure!(bad.is_none(), "method.lambdas holds {}, but penalties are positive", bad.unwrap_or(&0.0));
        }
        let no_validation = self.source == Source::Toy && self.needs_validation();
        ensure!(!no_validation, "{} needs validation data, and the toy problem has none", self.validated_field());
        Ok(())
    }
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let m = &self.method;
        m.check_weights()?;
        self.data.check()?;
        let images = m.source == Source::Images;
        ensure!(
            !images || !m.needs_validation() || self.data.val > 0,
            "{} needs validation data: data.val = 0 should be larger",
            m.validated_field()
        );
        ensure!((0.0..=1.0).contains(&self.noise.rate), "noise.rate = {} should be in [0, 1]", self.noise.rate);
        ensure!(
            images || self.noise.rate == 0.0,
            "noise.rate = {} needs labels: method.source should be images",
            self.noise.rate
        );
        match m.model {
            ModelKind::Kernel => {
                ensure!(self.data.augment.is_off(), "data.augment is for networks: a kernel fit sees each image once");
                m.check_kernel()
            }
            ModelKind::Network => {
                ensure!(images, "method.model = \"network\" learns from images: method.source should be images");
                ensure!(
                    m.procedure == Procedure::Chain,
                    "method.procedure should be chain: limit and tuned-lambda are for method.model = \"kernel\""
                );
                ensure!(
                    self.train.label_smoothing == 0.0,
                    "train.label_smoothing = {} should be 0: the loss is the squared error",
                    self.train.label_smoothing
                );
                self.train.check("train")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let config: Config = toml::from_str(text).expect("fields of the right types");
        config.validate().err().map(|e| format!("{e:#}")).unwrap_or_default()
    }

    #[test]
    fn bad_input_is_named() {
        for (text, needed) in [
            ("[method]\nalpha = 1.5", "method.alpha = 1.5 lies outside [0, 1]"),
            ("[method]\nalpha = [1.0, 0.5]", "2 weights for method.steps = 5"),
            ("[method]\nalpha = \"optimal\"", "data.val = 0"),
            ("[method]\nalpha = \"grid\"\ngrid = []", "method.grid = []"),
            ("[method]\nsource = \"toy\"", "the toy problem has none"),
            ("[method]\nsource = \"file\"\nalpha = 0.5", "go together"),
            ("[method]\nalpha = 0.5\nkernel = { name = \"rbf\", gamma = -1.0 }", "gamma = -1"),
            ("[method]\nprocedure = \"limit\"\n[data]\nval = 5", "one constant number"),
            ("[method]\nprocedure = \"tuned-lambda\"\nlambdas = [0.0]\n[data]\nval = 5", "penalties are positive"),
            ("[method]\nmodel = \"network\"\nsource = \"toy\"\nalpha = 0", "should be images"),
            ("[method]\nmodel = \"network\"\nprocedure = \"limit\"\nalpha = 0.5", "should be chain"),
            ("[method]\nalpha = 0.5\n[noise]\nrate = 1.5", "noise.rate = 1.5"),
            ("[method]\nalpha = 0.5\n[data.augment]\nflip = true", "data.augment"),
        ] {
            let message = refusal(text);
            assert!(message.contains(needed), "{text}: {message}");
        }
        assert_eq!(refusal("[method]\nalpha = 1.5\nclip = false"), "");
        assert_eq!(refusal("[method]\nalpha = 0"), "");
    }
}
