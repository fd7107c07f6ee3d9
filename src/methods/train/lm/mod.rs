//! A language model trained on running text: the plain run that other methods begin with.
//!
//! A decoder of one of the public families (LLaMA, Qwen2, Qwen3-MoE, OLMoE, DeepSeekMoE) learns to predict the next token of
//! windows of text; or a checkpoint folder of such a decoder goes on learning, as a whole or through low-rank adapters.
//!
//! ```text
//! loss = - mean_t log p(x_{t+1} | x_1 .. x_t)  [+ router_aux_loss_coef E sum_e f_e P_e with experts]
//! ```
//!
//! The run leaves `model/` (or `adapter/`), which Python's `transformers` (or `peft`) loads, `sample.txt`, and beside the loss of
//! separate windows the perplexity with overlapping ones. A base trained from nothing also goes into the cache below the data
//! root (`cache/lm/<key>`), from which methods that ask for the same configuration take it.
//!
//! How to use: start with the quick preset; characters for small texts, byte pairs from a megabyte up.

mod config;
mod ngram;
mod run;

pub use config::Config;

use anyhow::Result;

use crate::methods::{Definition, Verb, claims, presets};
use crate::ops::Op;
use crate::run::{Run, Summary};

pub struct LanguageModel;

impl Definition for LanguageModel {
    type Experiment = Config;

    const NAME: &'static str = "lm";
    const VERB: Verb = Verb::Train;
    const PAPER: &'static str = "none: the plain run; its decoder is that of Touvron et al.: LLaMA, arXiv 2302.13971";
    const ABOUT: &'static str = "Train a small language model on text: the base of the methods that tune one";
    const PRESETS: &'static [(&'static str, &'static str)] = presets!("lm");
    const CLAIMS: &'static str = claims!("lm");
    const HEADLINE: &'static [&'static str] =
        &["test_loss", "val_loss", "perplexity", "bits_per_byte", "bigram_loss", "accuracy", "parameters"];
    const OPS: &'static [Op] = &[];

    fn run(experiment: Config, run: &mut Run) -> Result<Summary> {
        run::run(experiment, run)
    }
}
