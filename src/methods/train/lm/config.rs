//! The experiment file of `reglab train lm`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use crate::config::Experiment;
use crate::models::decoder::Sampling;
use crate::models::{Arch, DecoderConfig};
use crate::params::lora::{LoraConfig, Targets};
use crate::text::TextConfig;
use crate::train::TrainConfig;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    /// Checkpoint folder of a decoder to go on from; it replaces `[model]`, and its tokenizer, if it has one, `text.tokenizer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// Rank of low-rank adapters (0: all weights are trained).
    #[schemars(range(min = 0))]
    pub lora_r: i64,
    /// The adapters' sum is multiplied by lora_alpha / lora_r.
    pub lora_alpha: f64,
    /// Share of a layer's input that an adapter does not see in training.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub lora_dropout: f64,
    /// Ends of the names of the adapted layers (empty: every Linear layer but the head).
    pub lora_targets: Vec<String>,
    /// Tokens from one window of the overlapping perplexity to the next (0: half a window).
    #[schemars(range(min = 0))]
    pub stride: i64,
    /// Tokens that `sample.txt` adds to its prompt, as far as a window reaches.
    #[schemars(range(min = 0))]
    pub sample_tokens: i64,
    /// How they are drawn.
    pub sampling: Sampling,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            start: None,
            lora_r: 0,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            lora_targets: Vec::new(),
            stride: 0,
            sample_tokens: 300,
            sampling: Sampling { temperature: 0.8, ..Sampling::default() },
        }
    }
}

impl Method {
    /// The adapters, if there shall be any.
    pub fn lora(&self) -> Option<LoraConfig> {
        let target_modules = match &self.lora_targets[..] {
            [] => Targets::AllLinear,
            endings => Targets::Endings(endings.to_vec()),
        };
        let config = LoraConfig {
            r: self.lora_r,
            lora_alpha: self.lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules,
            ..LoraConfig::default()
        };
        (self.lora_r > 0).then_some(config)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    pub text: TextConfig,
    pub model: Arch,
    pub train: TrainConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            method: Method::default(),
            text: TextConfig::default(),
            model: Arch::Decoder(DecoderConfig::default()),
            train: TrainConfig::default(),
        }
    }
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let method = &self.method;
        method.sampling.check()?;
        let (stride, window) = (method.stride, self.text.window);
        ensure!(stride <= window, "method.stride = {stride} should be at most text.window = {window}");
        ensure!(
            method.lora_r == 0 || method.start.is_some(),
            "method.lora_r = {} adapts a trained model: method.start should be its folder",
            method.lora_r
        );
        let listed = !method.lora_targets.is_empty();
        ensure!(method.lora_r > 0 || !listed, "method.lora_targets is read with method.lora_r above 0 only");
        ensure!(matches!(self.model, Arch::Decoder(_)), "model.name should be \"decoder\": only decoders predict text");
        self.train.check("train")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_need_others_say_which() {
        let refusal = |text: &str| toml::from_str::<Config>(text).unwrap().validate().unwrap_err().to_string();
        assert!(refusal("[method]\nlora_r = 4").contains("method.start"));
        assert!(refusal("[method]\nlora_targets = [\"q_proj\"]").contains("lora_r"));
        assert!(refusal("[method]\nstride = 100").contains("text.window = 64"));
        assert!(refusal("[model]\nname = \"mlp\"").contains("decoder"));
        assert!(refusal("[method.sampling]\ntop_p = 2.0").contains("top_p = 2"));
    }
}
