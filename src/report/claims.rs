//! claims.toml: the paper's numbers, and for each preset what must hold here.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A method's claims file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The paper's numbers, for the report.
    #[serde(default)]
    pub paper: Vec<PaperClaim>,
    /// What must hold, by preset.
    #[serde(default)]
    pub preset: BTreeMap<String, PresetClaims>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperClaim {
    pub id: String,
    pub setting: String,
    pub metric: String,
    /// As the paper prints it; "unknown" where it could not be read.
    pub paper: String,
    pub baseline: String,
    /// Where our number is found.
    pub ours: Option<Ours>,
}

/// The runs that repeat a number of the paper.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ours {
    pub preset: String,
    /// In the order in which the paper's numbers stand.
    pub arms: Vec<String>,
    /// Summary metric; several, each of every arm in turn, are separated by a space.
    pub metric: String,
    /// What it is multiplied with to be in the paper's unit: 100 for percent.
    #[serde(default = "one")]
    pub scale: f64,
}

fn one() -> f64 {
    1.0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetClaims {
    /// Seeds 0..seeds of every arm.
    pub seeds: u64,
    pub claim: Vec<Claim>,
}

impl PresetClaims {
    /// The arms that the claims speak of, each once.
    pub fn arms(&self) -> Vec<&str> {
        let named =
            self.claim.iter().flat_map(|c| std::iter::once(&c.arm).chain(&c.than).chain(&c.or_arms).chain(&c.along));
        let mut arms: Vec<&str> = named.map(String::as_str).collect();
        arms.sort_unstable();
        arms.dedup();
        arms
    }
}

/// One expectation on the mean over seeds of a summary metric: `metric` of `arm`, less `than_metric` (default: the same) of
/// `than` (default: the same arm), must lie in [at_least, at_most]. `ratio` divides instead; `every` judges each seed by
/// itself. A metric that ends in `.*` stands for all metrics that begin so (one a layer, say): each must hold. With `along`
/// the metric is followed along an axis: each arm of the list less the one before it, `arm` being the first, must lie in the
/// bounds, so that `at_least = 0.0` says that it never falls and `at_most = 0.0` that it never rises. Whatever is compared is
/// paired by seed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The expectation in words.
    pub says: String,
    pub arm: String,
    /// Other arms: the claim holds if it does for `arm` or for one of these.
    #[serde(default)]
    pub or_arms: Vec<String>,
    /// The arms after `arm`, in the order of the axis.
    #[serde(default)]
    pub along: Vec<String>,
    pub metric: String,
    pub than: Option<String>,
    pub than_metric: Option<String>,
    /// Divide instead of subtracting.
    #[serde(default)]
    pub ratio: bool,
    /// Every seed must satisfy it, not only the mean.
    #[serde(default)]
    pub every: bool,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

impl Claims {
    pub fn parse(method: &str, text: &str) -> Result<Claims> {
        toml::from_str(text).with_context(|| format!("claims.toml of {method}"))
    }

    /// The claims of a preset.
    pub fn of_preset(&self, method: &str, preset: &str) -> Result<&PresetClaims> {
        let names: Vec<&str> = self.preset.keys().map(String::as_str).collect();
        self.preset.get(preset).with_context(|| {
            format!("{method} claims nothing for the preset {preset}; it does for {}", names.join(", "))
        })
    }
}
