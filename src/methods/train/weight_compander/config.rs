//! The experiment file of `reglab train weight-compander`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use crate::config::Experiment;
use crate::data::DataConfig;
use crate::data::noise::LabelNoise;
use crate::models::Arch;
use crate::train::{OptimizerConfig, OptimizerKind, TrainConfig};

/// What a layer's weight is of its free parameter v.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reparameterization {
    /// The method: w = a atan(v / b).
    #[default]
    Compander,
    /// w = B tanh(v kappa / B).
    Tanh,
    /// w = v |v|^(alpha - 1): draws small weights to zero.
    Powerprop,
    /// w = g v / ||v||, the norm over each filter.
    WeightNorm,
    /// w = v, cut to [-B, B] after each step: bounded, not companded.
    Clip,
    /// w = v: the plain network.
    None,
}

impl Reparameterization {
    /// Whether |w| has a bound B.
    pub fn is_bounded(self) -> bool {
        matches!(self, Reparameterization::Compander | Reparameterization::Tanh | Reparameterization::Clip)
    }
}

/// The layers whose weights are reparameterized (never biases, normalizations, embeddings).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplyTo {
    /// Linear layers and convolutions.
    #[default]
    All,
    /// Convolutions.
    Conv,
    /// Linear layers.
    Linear,
    /// Those that `names` lists.
    Names,
}

/// Weights that share a and b.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    #[default]
    Layer,
    /// One a and b an output: a row of a Linear layer, a filter of a convolution.
    Filter,
    /// One a and b for all layers: the bound is that of the layer that needs the largest.
    Net,
}

/// Where the bound B comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// B = c sigma, sigma the standard deviation of the layer's initial distribution.
    #[default]
    Sigma,
    /// B = 1.05 max |w| of each layer of `start`: clips nothing.
    FromCheckpoint,
}

/// What weight decay shrinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecayOn {
    /// The free parameter: near the bound w is decayed less.
    #[default]
    V,
    /// The weight: wd w dw/dv is added to the gradient of v.
    W,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub reparameterization: Reparameterization,
    pub apply_to: ApplyTo,
    /// apply_to = "names": the layers (`fc1`, `layer1.0.conv1`).
    pub names: Vec<String>,
    /// Leave the classifier as it is.
    pub skip_last: bool,
    /// c: the bound B in initial standard deviations of the layer, > 0.
    pub bound_sigmas: f64,
    pub bound: Bound,
    /// kappa: the slope of w(v) at zero, > 0 (compander, tanh).
    pub slope: f64,
    /// Initial weights are clipped to this share of B, above 0 and below 1 (compander, tanh).
    pub clip: f64,
    /// Learn log a and log b (compander).
    pub learn: bool,
    /// Factor of the learning rate of log a and log b.
    #[schemars(range(min = 0.0))]
    pub ab_lr_mult: f64,
    pub share: Share,
    pub decay_on: DecayOn,
    /// Weights below this share of the layer's root mean square count as near zero, > 0.
    pub near: f64,
    /// powerprop: the exponent, 1 (the plain network) or more.
    #[schemars(range(min = 1.0))]
    pub alpha: f64,
    /// Adds this times sum |w| over the chosen layers to the loss.
    #[schemars(range(min = 0.0))]
    pub l1: f64,
    /// Share of the activations after each layer's ReLU that a training pass drops, 0 to below 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dropout: f64,
    /// Weights to start from (safetensors): those of the plain network, or of a run with fixed or learned a and b, which are
    /// folded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            reparameterization: Reparameterization::default(),
            apply_to: ApplyTo::default(),
            names: Vec::new(),
            skip_last: false,
            bound_sigmas: 2.0,
            bound: Bound::default(),
            slope: 1.0,
            clip: 0.98,
            learn: false,
            ab_lr_mult: 0.1,
            share: Share::default(),
            decay_on: DecayOn::default(),
            near: 0.1,
            alpha: 2.0,
            l1: 0.0,
            dropout: 0.0,
            start: None,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    pub data: DataConfig,
    /// Wrong labels in the training set.
    pub noise: LabelNoise,
    pub model: Arch,
    pub train: TrainConfig,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        self.method.check()?;
        self.method.check_optimizer(&self.train.optimizer)?;
        ensure!((0.0..=1.0).contains(&self.noise.rate), "noise.rate = {} should be from 0 to 1", self.noise.rate);
        self.data.check()?;
        self.train.check("train")
    }
}

impl Method {
    /// Whether the optimizer's decay can act on w.
    pub fn check_optimizer(&self, optimizer: &OptimizerConfig) -> Result<()> {
        ensure!(
            self.decay_on == DecayOn::V || optimizer.kind != OptimizerKind::AdamW,
            "method.decay_on = \"w\" adds the decay to the gradient, which adamw does not: train.optimizer.kind should be sgd, adam or rmsprop"
        );
        Ok(())
    }

    /// What the field ranges cannot say.
    pub fn check(&self) -> Result<()> {
        let positive = [("bound_sigmas", self.bound_sigmas), ("slope", self.slope), ("near", self.near)];
        for (name, value) in positive {
            ensure!(value.is_finite() && value > 0.0, "method.{name} = {value} should be above 0");
        }
        ensure!(self.clip > 0.0 && self.clip < 1.0, "method.clip = {} should be above 0 and below 1", self.clip);
        ensure!(self.alpha.is_finite(), "method.alpha = {} should be a finite number, 1 or more", self.alpha);
        ensure!(self.dropout < 1.0, "method.dropout = {} drops everything; it should be below 1", self.dropout);
        let listed = self.apply_to == ApplyTo::Names;
        ensure!(!listed || !self.names.is_empty(), "method.apply_to = \"names\" needs the layers in method.names");
        ensure!(listed || self.names.is_empty(), "method.names is read with method.apply_to = \"names\" only");
        let compander = self.reparameterization == Reparameterization::Compander;
        let own = |what: &str| format!("{what} needs method.reparameterization = \"compander\"");
        ensure!(compander || !self.learn, own("method.learn = true"));
        ensure!(compander || self.share == Share::Layer, own("method.share other than \"layer\""));
        ensure!(compander || self.decay_on == DecayOn::V, own("method.decay_on = \"w\""));
        ensure!(
            self.bound == Bound::Sigma || self.start.is_some(),
            "method.bound = \"from_checkpoint\" needs the checkpoint in method.start"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        toml::from_str::<Config>(text).unwrap().validate().unwrap_err().to_string()
    }

    #[test]
    fn bad_values_are_refused_with_the_field_and_the_value() {
        assert!(refusal("[method]\nbound_sigmas = 0.0").contains("method.bound_sigmas = 0 "));
        assert!(refusal("[method]\nslope = -1.0").contains("method.slope = -1 "));
        assert!(refusal("[method]\nclip = 1.0").contains("method.clip = 1 "));
        assert!(refusal("[method]\ndropout = 1.0").contains("method.dropout = 1 "));
        assert!(refusal("[noise]\nrate = 1.5").contains("noise.rate = 1.5"));
    }

    #[test]
    fn fields_that_need_others_say_which() {
        assert!(refusal("[method]\napply_to = \"names\"").contains("method.names"));
        assert!(refusal("[method]\nnames = [\"fc1\"]").contains("apply_to"));
        assert!(refusal("[method]\nbound = \"from_checkpoint\"").contains("method.start"));
        assert!(refusal("[method]\nreparameterization = \"tanh\"\nlearn = true").contains("compander"));
        let adamw = "[method]\ndecay_on = \"w\"\n[train.optimizer]\nkind = \"adamw\"";
        assert!(refusal(adamw).contains("adamw"));
    }

    #[test]
    fn the_words_are_those_of_the_sheet() {
        let text =
            "[method]\napply_to = \"conv\"\nshare = \"filter\"\nbound = \"sigma\"\ndecay_on = \"w\"\nlearn = true";
        toml::from_str::<Config>(text).unwrap().validate().unwrap();
    }
}
