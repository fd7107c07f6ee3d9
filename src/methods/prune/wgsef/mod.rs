//! WGSEF: weighted group sparse envelope regularization (Refael, Arbel, Huleihel, arXiv 2212.12921).
//!
//! Trains a network so that at most k of its m predefined groups of weights (filters, neurons, ...) are non-zero at the
//! end. The penalty is the tightest convex function below "half the squared norm if at most k groups are non-zero, else
//! infinity"; training is proximal SGD. With z_j = sqrt(d_j) ||theta_j||:
//!
//! ```text
//! GS_k(theta)             = 1/2 min { sum_j z_j^2 / u_j : 0 <= u_j <= 1, sum_j u_j <= k }
//! prox_{lambda GS_k}(y)_j = u_j / (u_j + lambda d_j) y_j,   u_j = clip(eta z_j - lambda d_j, 0, 1),   sum_j u_j = k
//! ```
//!
//! The core works on the m norms (`search`, `envelope`, `prox`, `group_lasso`, `half_space`, `topk`); [`groups`] takes
//! norms of a flat vector, [`crate::params::groups`] those of a network's tensors; [`penalty`] is the sum over the layers.
//! The paper's own placement of the weights d_j could not be read; here they sit in the quadratic.

mod build;
pub mod checks;
mod config;
pub mod device;
pub mod envelope;
pub mod group_lasso;
pub mod groups;
pub mod half_space;
mod ops;
pub mod penalty;
pub mod prox;
mod run;
pub mod search;
pub mod topk;
mod training;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct Wgsef;

impl Definition for Wgsef {
    type Experiment = Config;

    const NAME: &'static str = "wgsef";
    const VERB: Verb = Verb::Prune;
    const PAPER: &'static str = "Refael, Arbel, Huleihel: Learning k-Level Structured Sparse Neural Networks Using Group Envelope Regularization, arXiv 2212.12921";
    const ABOUT: &'static str =
        "Train with the weighted group sparse envelope until k groups a layer are left, and cut the others out";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("wgsef");
    const CLAIMS: &'static str = claims!("wgsef");
    const HEADLINE: &'static [&'static str] = &[
        "accuracy_trained",
        "nonzero_groups",
        "accuracy_pruned",
        "accuracy",
        "macs_ratio",
        "params",
        "latency_b128_ratio",
    ];
    const OPS: &'static [Op] = OPS;

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
