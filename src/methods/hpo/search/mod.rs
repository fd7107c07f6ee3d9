//! Black-box search over the hyper-parameters of any method of the house: the baseline of gradient-based tuning.
//!
//! Each trial proposes values ([`crate::search`]: random, grid, TPE, Nelder-Mead), runs the objective method with them as a
//! process of its own in `trials/<n>/` of the study's folder, and takes one number of its summary. So a failed or killed trial
//! cannot harm the study, and every trial is an ordinary run: its tables, its config.toml, `reglab resume`.
//!
//! A pruner (median, ASHA) reads what running trials write into their tables and ends the poor ones: SIGTERM, on which they
//! leave a checkpoint. It judges by the values at its steps, whenever they are read, so one worker always stops the same trials.
//! Units of work (`method.units`: epochs, MAID's gradients) and seconds are the axes of best_so_far.csv. A pruned trial counts
//! up to the row that decided; what its process did until it heard of it is in the seconds.
//!
//! The study is its journal, `trials.jsonl`; the tables and plots are derived from it. On resume it goes on from there, and
//! trials that were under way from their own last checkpoints; whether someone still works is told by the locks of the folders.
//! `reglab resume STUDY --extend N` adds trials to one that is done. All trials share the study's seed.

mod config;
mod extend;
mod objective;
mod output;
mod pictures;
mod run;
mod tables;
mod worker;

pub use config::Config;
pub use extend::extend;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct Search;

impl Definition for Search {
    type Experiment = Config;

    const NAME: &'static str = "search";
    const VERB: Verb = Verb::Hpo;
    const PAPER: &'static str = "Bergstra, Bardenet, Bengio, Kegl: Algorithms for Hyper-Parameter Optimization, NIPS 2011 (TPE); baseline samplers";
    const ABOUT: &'static str =
        "Tune hyper-parameters of any method by trials: random, grid, TPE or the simplex method";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("search");
    const CLAIMS: &'static str = claims!("search");
    const HEADLINE: &'static [&'static str] =
        &["best_value", "area_under_best", "units", "finished", "pruned", "failed"];
    const OPS: &'static [Op] = &[];

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
