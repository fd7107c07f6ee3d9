//! AdaMixUp: "MixUp as Locally Linear Out-Of-Manifold Regularization", Guo, Mao, Zhang, AAAI 2019 (arXiv 1809.02499); official
//! code SITE5039/AdaMixUp.
//!
//! MixUp trains on convex combinations of two samples and of their labels. A mixed input may lie on a real sample of a third
//! class, and its label then contradicts the data (manifold intrusion). AdaMixUp learns for each pair the interval that the
//! weight is drawn from, together with a discriminator that has to tell mixed inputs from real ones.
//!
//! ```text
//! alpha, delta, slack = softmax(pi((m1 x1 + m2 x2) / 2)),   lam = alpha + delta u,   u ~ U(0, 1)
//! x~ = lam x1 + (1-lam) x2,   y~ = the same of the labels
//! L = mean CE over [x~; x1] with [y~; y1]  +  mean CE over [unseen; x1; x~] of real against mixed
//! ```
//!
//! Classifier, discriminator and generator minimize this one sum, with one optimizer: nobody is an adversary.
//! As in the published code and unlike the formula, no gradient passes through y~ (`detach_targets`); each batch is split, its
//! second half being the unseen real inputs (`unseen = "fresh"` draws a second batch). The generator here gets normalized inputs;
//! the running statistics of normalization layers move in the classification pass only.
//!
//! [`policy`] is the method, `networks` the two networks beside the classifier, `mixer` makes pairs and mixtures, `training` the
//! doors. The run leaves policy.csv: the regions of each epoch. At test time the classifier stands alone; the checkpoints hold
//! the others after it as `generator.*`, `region.*` and `intrusion.*`.
//!
//! How to use: there is no parameter to tune. A step costs about three of ordinary training. The regions tend to shrink to a
//! point near 1/2 (delta to 0): no bug, and why the originals stay in the batch. Compare arms by `classified` samples.

mod config;
mod mixer;
mod networks;
mod ops;
pub mod policy;
mod run;
mod training;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct AdaMixUp;

impl Definition for AdaMixUp {
    type Experiment = Config;

    const NAME: &'static str = "adamixup";
    const VERB: Verb = Verb::Train;
    const PAPER: &'static str =
        "Guo, Mao, Zhang: MixUp as Locally Linear Out-Of-Manifold Regularization, AAAI 2019, arXiv 1809.02499";
    const ABOUT: &'static str = "Mix pairs of samples with weights from learned regions that avoid the data";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("adamixup");
    const CLAIMS: &'static str = claims!("adamixup");
    const HEADLINE: &'static [&'static str] =
        &["accuracy", "loss", "alpha", "delta", "discriminator_accuracy", "intrusion_rate", "intrusion_rate_features"];
    const OPS: &'static [Op] = OPS;

    fn takes_add_ons(_experiment: &Config) -> Result<()> {
        Ok(())
    }

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
