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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use tch::Tensor;

    use crate::config::Layer;
    use crate::methods::{find, resolve_arms};
    use crate::models::{Arch, DecoderConfig};
    use crate::run::{Progress, Run, Verbosity};
    use crate::text::TextConfig;
    use crate::train::TrainConfig;
    use crate::train::language::{BaseConfig, LanguageBase};

    /// A run in `folder`, or the one there is gone on with.
    fn run(folder: &Path, data_root: &Path) -> Run {
        let method = find("lm").unwrap();
        let preset = Layer::text("quick", method.preset("quick").unwrap()).unwrap();
        let config = resolve_arms(method, &[preset], &[], &["llama".to_owned()], "quick").unwrap().remove(0);
        let progress = Progress::new(Verbosity::Quiet);
        match folder.exists() {
            true => Run::resume(folder, config, data_root, progress).unwrap(),
            false => Run::create(folder, config, data_root, progress, false).unwrap(),
        }
    }

    #[test]
    fn a_base_is_trained_once_and_a_resumed_run_keeps_the_one_it_had() {
        let place = tempfile::tempdir().unwrap();
        let text = TextConfig { window: 16, ..TextConfig::default() };
        let small = DecoderConfig { hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, ..Default::default() };
        let model = Arch::Decoder(small);
        let train = TrainConfig { steps: 3, batch: 2, eval_every: 9, ..TrainConfig::default() };
        let obtain = |name: &str, train: &TrainConfig| {
            let mut run = run(&place.path().join(name), place.path());
            BaseConfig { text: &text, model: &model, train }.obtain("pretrain", &mut run).unwrap()
        };
        let weights = |base: &LanguageBase| -> Vec<Tensor> {
            base.net.store.iter().map(|(_, param)| param.tensor.detach()).collect()
        };
        let first = obtain("first", &train);
        let second = obtain("second", &train);
        assert_eq!((first.outcome.end.step, second.outcome.end.step), (3, 0));
        assert_eq!(weights(&first), weights(&second));
        for (name, steps) in [("first", 3), ("second", 0)] {
            let again = obtain(name, &train);
            assert_eq!((again.outcome.end.step, weights(&again)), (steps, weights(&first)), "{name}");
        }
        let longer = obtain("third", &TrainConfig { steps: 4, ..train.clone() });
        assert_eq!(longer.outcome.end.step, 4);
        assert_ne!(weights(&longer), weights(&first));
    }
}
