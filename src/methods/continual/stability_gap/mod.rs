//! "Continual evaluation for lifelong learning: Identifying the stability gap", De Lange, van de Ven, Tuytelaars, ICLR
//! 2023.
//!
//! An evaluation protocol: test all seen tasks after every training iteration instead of only at task ends. Right after
//! a task switch the accuracy on old tasks collapses and recovers, whatever protects them. The per-iteration metrics
//! are in [`crate::continual::curves`]; here are the learners they are run on:
//!
//! | file | learner | what it adds to the cross entropy of the current batch |
//! |---|---|---|
//! | [`er`] | experience replay | alpha CE(new) + (1 - alpha) CE(memory) |
//! | [`gem`] | gradient episodic memory | the gradient is projected so that no old task's loss rises |
//! | [`agem`] | averaged GEM | the same against one memory batch |
//! | [`ewc`] | online elastic weight consolidation | lambda sum F (theta - theta*)^2 |
//! | [`lwf`] | learning without forgetting | alpha KD from the model after the last task |
//! | [`si`] | synaptic intelligence | c sum Omega (theta - theta*)^2 |
//! | [`finetune`] | nothing, the current task's columns only, or all data so far | - |
//!
//! The protocol itself is shared by all continual methods: [`crate::continual::protocol`] (tasks as phases, accuracy matrix),
//! [`crate::continual::evaluator`] (accuracies every rho steps), [`crate::continual::gradients`] (norms of both parts of the
//! gradient), [`crate::continual::results`] (metrics, gaps, pictures).
//!
//! Where paper and official code differ: WP is the definition (the code's pruned search misses the largest rise), FORG
//! after task k averages over the tasks before k, and the record before the first update is not used by the metrics.

pub mod agem;
mod config;
pub mod er;
pub mod ewc;
pub mod finetune;
pub mod gem;
pub mod lwf;
mod memory_gradient;
mod ops;
mod run;
pub mod si;

pub use config::Config;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct StabilityGap;

impl Definition for StabilityGap {
    type Experiment = Config;

    const NAME: &'static str = "stability-gap";
    const VERB: Verb = Verb::Continual;
    const PAPER: &'static str = "De Lange, van de Ven, Tuytelaars: Continual evaluation for lifelong learning: Identifying the stability gap, ICLR 2023, arXiv 2205.13452";
    const ABOUT: &'static str =
        "Test all tasks met so far after every step, and measure what is lost right after a task switch";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("stability-gap");
    const CLAIMS: &'static str = claims!("stability-gap");
    const HEADLINE: &'static [&'static str] = &["acc", "forg", "min_acc", "wc_acc", "wf10", "wp10", "gap_depth"];
    const OPS: &'static [Op] = ops::OPS;

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
