//! Weight compander: "Weight Compander: A Simple Weight Reparameterization for Regularization", Cakaj, Mehnert, Yang, 2023
//! (arXiv 2306.16993).
//!
//! Every weight of a layer is w = Psi(v) of a free parameter v. Psi compresses large weights (no single one dominates) and
//! expands small ones (they leave zero quickly), so more weights take part; at inference w is stored and nothing is left.
//!
//! ```text
//! w = a atan(v / b)        |w| < a pi/2, slope a/b at zero; a > 0 and b > 0 a layer (or a filter), fixed or learned
//! start: B = c sigma, a = 2 B / pi, b = a / kappa, v = b tan(w0 / a) with |w0| clipped to 0.98 B
//! ```
//!
//! Only the abstract and the introduction of the paper could be read: the function, its initial values, the sharing of a and
//! b and their learning rate are this product's choice. There is no official code.
//!
//! [`psi`] is the method, [`rivals`] what it is compared with, [`statistics`] what is measured of the weights, `training`
//! the doors of an ordinary training run. The run leaves `compander.csv` (each layer at each epoch), checkpoints that hold v
//! beside log a and log b, and `folded.safetensors`, the plain network.
//!
//! How to use: start with c = 2, kappa = 1, a and b fixed. Learned a and b open the bound in networks without normalization.
//! On top of another method: `reglab train elr --with weight-compander`.
//! Where it helps: few and wrong labels; a stronger weight decay reaches the same there, and on clean labels nothing is won.
//! kappa > 1 expands small weights more but multiplies their learning rate by kappa^2. Before a normalization layer the scale a
//! means nothing, only the shape of the weights' distribution does: compare with the plain network at the best learning rate of
//! each.

mod build;
mod config;
mod map;
mod measure;
mod ops;
pub mod psi;
pub mod rivals;
mod run;
mod start;
pub mod statistics;
mod training;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;
use toml::Table;

use config::Method;
use training::Companding;

use crate::config::Schema;
use crate::methods::{Definition, Maker, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct WeightCompander;

impl Definition for WeightCompander {
    type Experiment = Config;

    const NAME: &'static str = "weight-compander";
    const VERB: Verb = Verb::Train;
    const PAPER: &'static str = "Cakaj, Mehnert, Yang: Weight Compander: A Simple Weight Reparameterization for Regularization, arXiv 2306.16993";
    const ABOUT: &'static str = "Train v and use w = a atan(v / b): bounded weights that leave zero quickly";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("weight-compander");
    const CLAIMS: &'static str = claims!("weight-compander");
    const HEADLINE: &'static [&'static str] =
        &["accuracy", "accuracy_folded", "train_accuracy", "near_zero", "max_over_rms", "max_over_bound"];
    const OPS: &'static [Op] = OPS;
    const ADD_ON: Option<Maker> = Some(ADD_ON);

    fn takes_add_ons(_experiment: &Config) -> Result<()> {
        Ok(())
    }

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}

/// `--with weight-compander`: any network that is trained in the common loop is companded.
const ADD_ON: Maker = Maker {
    section: || Schema::of::<Config>().method_section(),
    check: |section| {
        let method: Method = section.clone().try_into()?;
        method.check()?;
        Ok(Table::try_from(&method)?)
    },
    attach: |section, net, optimizer| {
        let method: Method = section.clone().try_into()?;
        Ok(Box::new(Companding::new(&method, net, optimizer)?))
    },
};
