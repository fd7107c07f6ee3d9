//! Dynamical stability: how sharp a trained network's minimum is, and what SGD of its rate and batch size can hold.
//!
//! Wu, Su, "The Implicit Regularization of Dynamical Stability in Stochastic Gradient Descent", ICML 2023, arXiv 2305.17490;
//! the Frobenius bound is from Wu, Wang, Su 2022, arXiv 2207.02628.
//!
//! A minimum that SGD stays at must be linearly stable. For the squared loss 1/(2n) sum e_i^2, g_i = grad f(x_i) and
//! G = (1/n) sum g_i g_i^T (the Hessian where e = 0):
//!
//! ```text
//! M' = (I - eta G) M (I - eta G) + eta^2 kappa [ (1/n) sum (g_i^T M g_i) g_i g_i^T - G M G ]
//! stable  =>  eta [ kappa (1/n) sum |g_i|^4 + (1 - kappa) ||G||_F^2 ] <= 2 tr G   =>   tr G <= 2B/eta
//! gradient descent: lambda_max <= 2/eta, and no more
//! ```
//!
//! The trace bounds a norm of the solution (path norm of a two-layer ReLU net, l1 norm of a diagonal linear net), the largest
//! eigenvalue does not: larger rates give simpler solutions under SGD, not under gradient descent.
//!
//! How to use: `reglab analyze dynamical-stability` runs the model problems; `... --weights model.safetensors data.name=...
//! train.optimizer.lr=0.1 train.batch=128` measures any checkpoint (rate and batch are those it was trained with).
//!
//! [`sharpness`] and [`stability`] are the theory, [`student`] the two model problems as stacked models, `sweep` their
//! training, `network` the probes of [`crate::metrics::curvature`] on a network.
//!
//! Chosen here: the test error is the mean squared error (the known reproduction scores signs); the necessary condition is
//! written with kappa, so that it also holds without replacement; the unbalanced start has variance 0.1; for C outputs the
//! trace bound is 2 B C/eta (each example's part of G then has rank C). The model problems report the growth of M by repeated
//! application, a lower bound of the radius. There is no official code.
//!
//! Pitfalls: with torch's MSE (no 1/2) G doubles; the bounds are about minima SGD *stays at*, so train until the loss is tiny and
//! use the rate before decay; the bound is necessary, not sufficient, and the trace often ends well below it.

mod config;
mod measure;
mod network;
mod ops;
mod pictures;
mod problem;
mod run;
pub mod sharpness;
pub mod stability;
pub mod student;
mod sweep;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct DynamicalStability;

impl Definition for DynamicalStability {
    type Experiment = Config;

    const NAME: &'static str = "dynamical-stability";
    const VERB: Verb = Verb::Analyze;
    const PAPER: &'static str = "Wu, Su: The Implicit Regularization of Dynamical Stability in Stochastic Gradient Descent, ICML 2023, arXiv 2305.17490";
    const ABOUT: &'static str =
        "Measure the sharpness of a minimum (exact, Hutchinson, Lanczos) and what SGD of its rate and batch can hold";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("dynamical-stability");
    const CLAIMS: &'static str = claims!("dynamical-stability");
    const HEADLINE: &'static [&'static str] =
        &["trace_over_bound", "top_over_bound", "norm_rise", "mse_ratio", "imbalance", "trace", "top"];
    const OPS: &'static [Op] = OPS;

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
