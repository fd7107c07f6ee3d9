//! The experiment file of `reglab train adamixup`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Experiment;
use crate::data::DataConfig;
use crate::models::Arch;
use crate::train::TrainConfig;

/// Where mixing weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Nothing is mixed.
    None,
    /// Beta(a, a).
    Mixup,
    /// The method: a learned region for each pair.
    #[default]
    Adamixup,
}

/// What shares one draw of the weight (mixup).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LamPer {
    #[default]
    Example,
    Batch,
}

/// Where the discriminator's unseen real inputs come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// The second half of each batch: only its first half is classified (published script).
    #[default]
    Split,
    /// A second batch in an order of its own.
    Fresh,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    pub policy: Policy,
    /// mixup: both parameters of the Beta distribution, above 0.
    pub beta: f64,
    /// mixup: one weight an example or one a batch.
    pub lam_per: LamPer,
    /// adamixup: without it every region stays [1/3, 2/3] and there is no generator.
    pub learn_policy: bool,
    /// adamixup: the discriminator and its loss.
    pub intrusion_loss: bool,
    /// adamixup: classify the first samples of the pairs unmixed too.
    pub originals: bool,
    /// adamixup: no gradient through the mixed labels (published script); false is the paper's literal formula.
    pub detach_targets: bool,
    /// adamixup: multiply the generator's inputs by truncated normal noise (published script).
    pub noise: bool,
    pub unseen: Unseen,
    /// Start the classifier's last layer near zero, as the published script does; without batch normalization that slows its
    /// training down. Whatever the policy is.
    pub small_head: bool,
    /// Mixed training samples among which intrusions are counted at the end (0: none).
    pub intrusion_samples: usize,
}

impl Default for Method {
    fn default() -> Method {
        Method {
            policy: Policy::default(),
            beta: 1.0,
            lam_per: LamPer::default(),
            learn_policy: true,
            intrusion_loss: true,
            originals: true,
            detach_targets: true,
            noise: true,
            unseen: Unseen::default(),
            small_head: true,
            intrusion_samples: 1000,
        }
    }
}

impl Method {
    /// Whether only half of a batch makes pairs.
    pub fn splits(&self) -> bool {
        self.policy == Policy::Adamixup && self.unseen == Unseen::Split
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub method: Method,
    pub data: DataConfig,
    pub model: Arch,
    pub train: TrainConfig,
}

impl Experiment for Config {
    fn validate(&self) -> Result<()> {
        let Method { policy, beta, .. } = self.method;
        ensure!(beta.is_finite() && beta > 0.0, "method.beta = {beta} must be above 0");
        let adaptive = policy == Policy::Adamixup;
        let m = &self.method;
        let changed = !(m.learn_policy && m.intrusion_loss && m.originals && m.detach_targets && m.noise);
        ensure!(adaptive || !changed, "method has fields of policy = \"adamixup\" switched off; policy should be that");
        ensure!(
            policy == Policy::Mixup || m.lam_per == LamPer::Example,
            "method.lam_per = \"batch\" is for method.policy = \"mixup\" only: a learned region is one a pair"
        );
        let batch = self.train.batch;
        ensure!(
            !self.method.splits() || (batch >= 4 && batch.is_multiple_of(2)),
            "train.batch = {batch} is split in halves: it must be even and at least 4 (or method.unseen = \"fresh\")"
        );
        ensure!(
            !adaptive || self.train.drop_last,
            "train.drop_last = false leaves a last batch of another size: it should be true with method.policy = \"adamixup\""
        );
        self.data.check()?;
        self.train.check("train")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_refused_with_the_field_and_the_value() {
        for (text, part) in [
            ("method = { policy = \"mixup\", beta = 0.0 }", "method.beta = 0"),
            ("method = { policy = \"mixup\", intrusion_loss = false }", "switched off"),
            ("method.lam_per = \"batch\"\ntrain.drop_last = true", "method.lam_per"),
            ("train = { batch = 7, drop_last = true }", "train.batch = 7"),
            ("train = { batch = 2, drop_last = true }", "train.batch = 2"),
            ("method.policy = \"adamixup\"", "train.drop_last = false"),
        ] {
            let message = toml::from_str::<Config>(text).unwrap().validate().unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
