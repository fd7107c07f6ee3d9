//! Intrinsic dimension: how many parameters a problem really needs.
//!
//! Li, Farkhoor, Liu, Yosinski, "Measuring the Intrinsic Dimension of Objective Landscapes", ICLR 2018, arXiv 1804.08838.
//!
//! Train only in a random d-dimensional affine subspace through the initial weights and increase d until solutions appear:
//!
//! ```text
//! theta = theta_0 + P theta_d,   P [D, d] fixed, columns of unit norm over ALL parameters,   theta_d = 0 at the start
//! d_int90 = the smallest d with mean performance > 0.90 x baseline (strictly)
//! ```
//!
//! The projections (dense, sparse, Fastfood) and the subspace as a view are [`crate::params::projection`]; [`dimension`] judges
//! the curve; the tasks are `supervised`, [`toy`] (whose dimension is known), cart-pole by [`evolution`] strategies or
//! [`dqn`], and `cost`, which times a step with each projection. Each d and each run is a phase: a run goes on where it stopped.
//!
//! How to use: set `baseline` to 1.0 for the paper's MNIST rule, leave it out for the direct network's accuracy. Rates in the
//! subspace are 10 to 100 times those of the full space. `slope` in the summary says whether the accuracy at d_int still rose in
//! the last epoch: under-training looks like a higher dimension.
//!
//! Where text and code differ: the Q-learning penalty of 0.01 acts on the Q values (the released code collects variables by
//! scope); its performance is the best mean return of 100 episodes. MuJoCo and Atari are out of scope; the inverted pendulum is
//! the continuous-force cart-pole. The number of episodes a candidate of the evolution strategy plays is one.

pub mod cart_pole;
mod config;
mod cost;
mod curve;
pub mod dimension;
pub mod dqn;
mod es;
pub mod evolution;
mod ops;
mod policy;
mod supervised;
pub mod toy;
mod toy_run;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;

use config::Task;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct IntrinsicDimension;

impl Definition for IntrinsicDimension {
    type Experiment = Config;

    const NAME: &'static str = "intrinsic-dimension";
    const VERB: Verb = Verb::Analyze;
    const ALIASES: &'static [&'static str] = &["intrinsic-dim"];
    const PAPER: &'static str = "Li, Farkhoor, Liu, Yosinski: Measuring the Intrinsic Dimension of Objective Landscapes, ICLR 2018, arXiv 1804.08838";
    const ABOUT: &'static str = "Train in random subspaces of growing dimension until solutions appear";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("intrinsic-dimension");
    const CLAIMS: &'static str = claims!("intrinsic-dimension");
    const HEADLINE: &'static [&'static str] =
        &["d_int", "solved", "perf_at", "direct", "bootstrap_mean", "bootstrap_std", "parameters"];
    const OPS: &'static [Op] = OPS;

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        match experiment.method.task {
            Task::Supervised => supervised::run(&experiment, run),
            Task::Toy => toy_run::run(&experiment, run),
            Task::CartPoleEs => es::run(&experiment, run),
            Task::CartPoleDqn => dqn::run(&experiment, run),
            Task::Cost => cost::run(&experiment, run),
        }
    }
}
