//! Consensus sub-network with polarization regularization (Zhi, Babbar, Liu, Sun, Silavong, Shi, Moran: "Learning a Consensus
//! Sub-Network with Polarization Regularization and One Pass Training", arXiv 2302.10798).
//!
//! Every block (or channel) gets a small gate that looks at the block's input and opens or closes it. While the network
//! trains, one term asks for a share t of the cost and one for gates on which all inputs agree, so that in the end the gates can
//! be dropped and closed blocks deleted: one training run, no fine-tuning, a static smaller network.
//!
//! ```text
//! pi = sigmoid(W2 relu(W1 GAP(x) + b1) + b2),  g = 1[pi > 0.5],  dg/dpi := 1,   y = act(shortcut(x) + g F(x))
//! L_polar = 1/L sum_l gbar_l (1 - gbar_l),   gbar_l the mean over the batch
//! L_act   = (A - t)^2,                       A = sum_l cost_l gbar_l / sum_l cost_l
//! L       = L_task + lambda_act L_act + r(e) lambda_polar L_polar,   r(e) = clip((e/E - start) / length, 0, 1)
//! ```
//!
//! Only abstracts and summaries of the paper could be read: gate layout, constants and schedules are ours. Not to be confused
//! with Zhuang et al. 2020, who polarize normalization scales; that one is the rival `bn-polar`.

mod bn_polar;
mod config;
mod consensus;
mod gate;
mod gated;
mod gating;
mod losses;
mod ops;
mod pictures;
mod run;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct Polarization;

impl Definition for Polarization {
    type Experiment = Config;

    const NAME: &'static str = "polarization";
    const VERB: Verb = Verb::Prune;
    const PAPER: &'static str = "Zhi, Babbar, Liu, Sun, Silavong, Shi, Moran: Learning a Consensus Sub-Network with Polarization Regularization and One Pass Training, arXiv 2302.10798";
    const ABOUT: &'static str =
        "Gate the blocks while training until all inputs agree which ones they need, and delete the others";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("polarization");
    const CLAIMS: &'static str = claims!("polarization");
    const HEADLINE: &'static [&'static str] =
        &["accuracy_dynamic", "accuracy", "agreement", "gates_kept", "kept_cost", "macs_ratio", "latency_b128_ratio"];
    const OPS: &'static [Op] = OPS;

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
