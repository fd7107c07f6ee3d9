//! MAID, Method of Adaptive Inexact Descent: gradient-based tuning of many hyper-parameters when the inner problem is never
//! solved exactly.
//!
//! Salehi, Mukherjee, Roberts, Ehrhardt, "An adaptively inexact first-order method for bilevel optimization with application
//! to hyperparameter learning", SIAM J. Mathematics of Data Science 7(3), 2025, arXiv 2308.10098.
//!
//! min over theta of f(theta) = g(x^(theta)), x^(theta) = argmin_x h(x, theta). The lower problem is solved to a certified accuracy
//! eps ([`crate::bilevel::accelerated_gradient`]), the hypergradient z = -B^T q to ||H q - grad g|| <= delta
//! ([`crate::bilevel::hypergradient`]). If omega, a bound on ||z - grad f|| ([`bound`]), is below (1-eta) ||z||, -z is a descent
//! direction; a step is accepted when psi <= 0 proves that the exact f falls ([`line_search`]); accuracies tighten where either
//! fails and loosen after each accepted step ([`descent`]).
//!
//! Where the published code and the text differ this follows the text: real momentum in the lower solve (`solver = "gd"` for the
//! published behaviour), L_g in the bound's constant c, mu a true lower bound of the curvature, q = 0 when grad g is already below
//! delta, g and ||grad g|| taken again at every new x, a failed line search repeated at higher accuracy without end.
//! Two things the text leaves open: where the cap ends a lower solve, its certificate takes the place of eps in every bound,
//! so that no guarantee is lost; a trial step where h or g is not finite, or h not strongly convex, is refused.
//!
//! What the paper and its code leave open and was chosen here: foe starts with t0 = 0 and all log smoothings at -3; the
//! quadratic's b come from a uniform true x and theta; tv and foe average over the images at both levels (the certificate is the
//! same as with sums). The losses of the summary are of a solve at the last theta that is more accurate than the run's own and
//! outside its budget, so that arms of different accuracy compare.
//!
//! Pitfalls: a mu that is too large voids every certificate; use float64 throughout; MAID pays where a tight inner solve is
//! expensive (a few thousand gradients), not on small well-conditioned problems.
//!
//! The run: `build` makes the problem, `algorithm` is what moves theta (MAID, its fixed-accuracy ablation, the baseline
//! [`hoag`] or derivative-free search), `run` the loop, its table and its pictures.

mod algorithm;
mod black_box;
pub mod bound;
mod build;
mod config;
pub mod descent;
mod estimate;
pub mod foe;
pub mod hoag;
pub mod line_search;
pub mod logreg;
mod ops;
pub mod quadratic;
mod run;
pub mod settings;
pub mod tv;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct Maid;

impl Definition for Maid {
    type Experiment = Config;

    const NAME: &'static str = "maid";
    const VERB: Verb = Verb::Hpo;
    const PAPER: &'static str = "Salehi, Mukherjee, Roberts, Ehrhardt: An adaptively inexact first-order method for bilevel optimization with application to hyperparameter learning, SIAM J. Mathematics of Data Science 7(3), 2025, arXiv 2308.10098";
    const ABOUT: &'static str =
        "Tune many hyper-parameters by inexact gradients whose accuracy and step size choose themselves";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("maid");
    const CLAIMS: &'static str = claims!("maid");
    const HEADLINE: &'static [&'static str] =
        &["upper_loss", "psnr", "test_psnr", "test_accuracy", "accepted_steps", "inner_gradients", "hessian_products"];
    const OPS: &'static [Op] = OPS;

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
