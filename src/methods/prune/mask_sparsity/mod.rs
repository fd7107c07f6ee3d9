//! MaskSparsity (Jiang, Zhao, Zhao, An, Tang, Wang: "Pruning-aware Sparse Regularization for Network Pruning", arXiv
//! 2201.06776; official code CASIA-IVA-Lab/MaskSparsity).
//!
//! Network slimming shrinks all normalization scales gamma and cuts the small ones; the scales that stay have shrunk too. Here
//! a mask first says which channels go, and only their scales are penalized while the network trains again:
//!
//! ```text
//! L = L_ce + s sum_l sum_{c : keep_l[c] = 0} R(gamma_l[c]),   R = |.| (L1) or 1/2 (.)^2 (L2)
//! ```
//!
//! The masked scales go to zero, the others train as ever, and cutting hardly changes the output. Phases: `baseline` (or
//! weights to start from), `global` (all scales penalized; the mask is read off it), `sparse`, cut, `finetune`.
//!
//! Where code and paper leave it open: `sparse` starts from the baseline (the official comments name both it and the network
//! of global sparsity), the cut is the mask itself (`prune_by = "threshold"` cuts at tau again), and after the votes on a
//! residual stream every layer keeps `min_channels`, which the official code forgets.

mod config;
mod masks;
mod ops;
mod pictures;
mod plan;
mod regularizer;
mod run;
mod watch;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct MaskSparsity;

impl Definition for MaskSparsity {
    type Experiment = Config;

    const NAME: &'static str = "mask-sparsity";
    const VERB: Verb = Verb::Prune;
    const PAPER: &'static str =
        "Jiang, Zhao, Zhao, An, Tang, Wang: Pruning-aware Sparse Regularization for Network Pruning, arXiv 2201.06776";
    const ABOUT: &'static str =
        "Choose the channels to remove first, shrink only their normalization scales to zero, and cut them out";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("mask-sparsity");
    const CLAIMS: &'static str = claims!("mask-sparsity");
    const HEADLINE: &'static [&'static str] = &[
        "accuracy_trained",
        "accuracy_pruned",
        "accuracy",
        "kept_gamma",
        "macs_ratio",
        "params",
        "latency_b128_ratio",
    ];
    const OPS: &'static [Op] = OPS;

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
