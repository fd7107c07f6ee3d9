//! Early-learning regularization: "Early-Learning Regularization Prevents Memorization of Noisy Labels", Liu, Niles-Weed,
//! Razavian, Fernandez-Granda, NeurIPS 2020 (arXiv 2007.00151); official code `shengliu66/ELR`.
//!
//! Networks fit the clean labels first and memorize the wrong ones later. ELR keeps a moving average t_i of the model's own
//! predictions of every training sample and pulls the prediction towards it, which cancels the gradient of wrong labels:
//!
//! L = CE + lambda mean_i log(1 - <t_i, p_i>),  t_i <- beta t_i + (1-beta) p_i
//!
//! ELR+ adds mixup, weight averaging and a second network that makes the targets.
//!
//! Where paper and official code differ, the code is followed: predictions are clamped to [c, 1-c] (c = 1e-4), for the target
//! also renormalized; CIFAR-100 pair noise runs in blocks of five consecutive class ids (`group = "superclass"` for the paper's).
//!
//! Detection is "argmax t_i is not the label"; a pair votes with the sum of its two memories, and a rival without a memory is
//! judged by its predictions. The last epoch's test accuracy and the best epoch's are reported apart.
//!
//! [`loss`], [`memory`] and [`plus`] are the method, [`robust`] and [`coteaching`] what it is compared with, [`memorization`]
//! what is measured. The wrong labels come from [`crate::data::noise`], the mixing of samples from [`crate::data::mixup`].
//! `labels` spoils the data, `training` holds the doors, `peers` the two nets, `measure` the tables, `run` the order of it all.

mod config;
pub mod coteaching;
mod labels;
pub mod loss;
mod measure;
pub mod memorization;
pub mod memory;
mod ops;
mod peers;
pub mod plus;
pub mod robust;
mod run;
mod training;

pub use config::Config;
pub use ops::OPS;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct EarlyLearning;

impl Definition for EarlyLearning {
    type Experiment = Config;

    const NAME: &'static str = "elr";
    const VERB: Verb = Verb::Train;
    const PAPER: &'static str = "Liu, Niles-Weed, Razavian, Fernandez-Granda: Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020, arXiv 2007.00151";
    const ABOUT: &'static str = "Train on labels of which some are wrong without memorizing those, and point them out";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("elr");
    const CLAIMS: &'static str = claims!("elr");
    const HEADLINE: &'static [&'static str] = &[
        "accuracy",
        "accuracy_best",
        "memorized",
        "wrong_correct",
        "detection_accuracy",
        "detection_precision",
        "detection_recall",
    ];
    const OPS: &'static [Op] = OPS;

    fn takes_add_ons(_experiment: &Config) -> Result<()> {
        Ok(())
    }

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
