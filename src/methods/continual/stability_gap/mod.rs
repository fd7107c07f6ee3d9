//! "Continual evaluation for lifelong learning: Identifying the stability gap", De Lange, van de Ven, Tuytelaars, ICLR
//! 2023.
//!
//! An evaluation protocol: test all seen tasks after every training iteration instead of only at task ends. Right after
//! a task switch the accuracy on old tasks collapses and recovers, whatever protects them:
//!
//! gap_i = A(E_i, f at the switch) - min over the next task of A(E_i, f_n);   L = a L_plasticity + b L_stability
//!
//! All of it is shared by every continual method and lies in [`crate::continual`]: [`protocol`](crate::continual::protocol)
//! (tasks as phases, accuracy matrix), [`evaluator`](crate::continual::evaluator) (accuracies every rho steps),
//! [`curves`](crate::continual::curves) (the metrics of such accuracies), [`gradients`](crate::continual::gradients) (norms of
//! both parts of the gradient), [`results`](crate::continual::results) (summary, gaps, pictures), and the learners that it is
//! run on, [`baselines`](crate::continual::baselines).
//!
//! Where paper and official code differ: WP is the definition (the code's pruned search misses the largest rise), FORG
//! after task k averages over the tasks before k, and the record before the first update is not used by the metrics.

mod config;
mod ops;
mod run;

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
