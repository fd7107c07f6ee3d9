//! Self-distillation with weighted ground truth.
//!
//! Borup & Andersen, "Even your Teacher Needs Guidance: Ground-Truth Targets Dampen Regularization Imposed by
//! Self-Distillation", NeurIPS 2021, arXiv 2102.13088.
//!
//! The same model is trained again and again, each time on a mix of the true labels (weight alpha) and its predecessor's outputs
//! on the training inputs (weight 1-alpha). For kernel ridge regression ([`chain`]) every step is closed form,
//!   t = alpha y + (1-alpha) y^(tau-1), coef = (K + lambda I)^-1 t, y^(tau) = K coef:
//! each is a further shrinkage of K's spectrum; alpha = 0 ends at the zero function, alpha > 0 at the ridge fit with penalty
//! lambda/alpha. The weight that is best for a step on validation data has a closed form too, and the same formula estimates
//! it for networks ([`loss`]) from one extra training.
//!
//! `alpha` weights the *labels* here; much distillation code weights the teacher. lambda is added to K as it is: no 1/n.
//! Where the published network code penalises the sum of un-squared norms, the default is the paper's squared penalty
//! (`reg_form`). Its validation loader is the test set; here validation data are a part of the training set, and the last
//! weights are tested. Each network starts from initial values of its own step.
//!
//! `closed_form` is the kernel's run, `network` the networks'; `record` measures both alike.
//!
//! Pitfalls: mix with the fit on the training inputs, never with validation predictions; use float64 (float32 fails for small
//! lambda); the arg max hides that outputs shrink to 0 at alpha = 0: watch the norm of f (`rms`, `norm` in chain.csv). The
//! squared error of probabilities has tiny gradients (factor p(1-p)/C): learning rates from cross-entropy runs look stuck, and
//! more epochs are needed.

pub mod chain;
mod closed_form;
mod config;
pub mod kernel;
pub mod loss;
mod network;
mod ops;
mod problem;
mod record;
pub mod toy;

pub use config::Config;
pub use ops::OPS;

use anyhow::{Result, ensure};

use config::ModelKind;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct SelfDistill;

impl Definition for SelfDistill {
    type Experiment = Config;

    const NAME: &'static str = "self-distill";
    const VERB: Verb = Verb::Distill;
    const PAPER: &'static str = "Borup, Andersen: Even your Teacher Needs Guidance: Ground-Truth Targets Dampen Regularization Imposed by Self-Distillation, NeurIPS 2021, arXiv 2102.13088";
    const ABOUT: &'static str =
        "Train the same model again and again on its predecessor's outputs, with alpha the weight of the true LABELS";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("self-distill");
    const CLAIMS: &'static str = claims!("self-distill");
    const HEADLINE: &'static [&'static str] =
        &["accuracy_first", "accuracy", "accuracy_best", "mse_first", "mse", "mse_limit", "alpha_max"];
    const OPS: &'static [Op] = OPS;

    fn takes_add_ons(experiment: &Config) -> Result<()> {
        let trains = experiment.method.model == ModelKind::Network;
        ensure!(trains, "a kernel is not trained; it needs method.model = \"network\"");
        Ok(())
    }

    fn run(config: Config, run: &mut Run) -> Result<Summary> {
        match config.method.model {
            ModelKind::Kernel => closed_form::run(&config, run),
            ModelKind::Network => network::run(&config, run),
        }
    }
}
