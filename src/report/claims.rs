//! claims.toml: the paper's numbers, and for each preset what must hold here.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;

use super::statistics::precise as number;
use super::{Record, Sample};

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
        let named = self.claim.iter().flat_map(|c| std::iter::once(&c.arm).chain(&c.than).chain(&c.or_arms));
        let mut arms: Vec<&str> = named.map(String::as_str).collect();
        arms.sort_unstable();
        arms.dedup();
        arms
    }
}

/// One expectation on the mean over seeds of a summary metric: `metric` of `arm`, less `than_metric` (default: the same) of
/// `than` (default: the same arm), must lie in [at_least, at_most]. `ratio` divides instead; `every` judges each seed by
/// itself. A metric that ends in `.*` stands for all metrics that begin so (one a layer, say): each must hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The expectation in words.
    pub says: String,
    pub arm: String,
    /// Other arms: the claim holds if it does for `arm` or for one of these.
    #[serde(default)]
    pub or_arms: Vec<String>,
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

/// How a claim came out.
pub struct Verdict {
    pub holds: bool,
    /// The measured number with its standard error, and the bound.
    pub measured: String,
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

impl Claim {
    /// Judges the claim on finished runs: of the arms that may satisfy it the first that does, of several metrics the first
    /// that does not hold.
    pub fn judge(&self, records: &[Record]) -> Result<Verdict> {
        ensure!(
            self.at_least.is_some() || self.at_most.is_some(),
            "claim {:?} has neither at_least nor at_most",
            self.says
        );
        let mut last = None;
        for arm in std::iter::once(&self.arm).chain(&self.or_arms) {
            let verdict = self.judge_arm(records, arm)?;
            if verdict.holds {
                return Ok(verdict);
            }
            last = Some(verdict);
        }
        last.context("a claim has an arm")
    }

    fn judge_arm(&self, records: &[Record], arm: &str) -> Result<Verdict> {
        let Some(prefix) = self.metric.strip_suffix('*').filter(|prefix| prefix.ends_with('.')) else {
            return self.judge_metric(records, arm, &self.metric);
        };
        let first = records.iter().find(|r| r.arm == arm).with_context(|| format!("no run of the arm {arm}"))?;
        let names: Vec<&String> = first.summary.keys().filter(|name| name.starts_with(prefix)).collect();
        ensure!(!names.is_empty(), "{} has no metric {}", first.folder.display(), self.metric);
        let mut held = None;
        for name in names {
            let verdict = self.judge_metric(records, arm, name)?;
            let named = Verdict { measured: format!("{name} {}", verdict.measured), ..verdict };
            if !named.holds {
                return Ok(named);
            }
            held = Some(named);
        }
        held.context("a metric was judged")
    }

    fn judge_metric(&self, records: &[Record], arm: &str, metric: &str) -> Result<Verdict> {
        let sample = self.sample(records, arm, metric)?;
        let low = self.at_least.unwrap_or(f64::NEG_INFINITY);
        let high = self.at_most.unwrap_or(f64::INFINITY);
        let inside = |x: f64| x >= low && x <= high;
        let holds = if self.every { sample.0.iter().all(|&x| inside(x)) } else { inside(sample.mean()) };
        let error = sample.error().map_or(String::new(), |e| format!(" (s.e. {})", number(e)));
        let worst = sample.0.iter().copied().find(|&x| !inside(x)).filter(|_| self.every);
        let worst = worst.map_or(String::new(), |x| format!(", worst seed {}", number(x)));
        let low = self.at_least.map(|b| format!(">= {}", number(b)));
        let high = self.at_most.map(|b| format!("<= {}", number(b)));
        let bound = [low, high].into_iter().flatten().collect::<Vec<_>>().join(" and ");
        let measured = format!("{}{error}{worst}, n = {}, needed {bound}", number(sample.mean()), sample.n());
        Ok(Verdict { holds, measured })
    }

    /// The value of each seed, paired by seed where two arms are compared.
    fn sample(&self, records: &[Record], own: &str, metric: &str) -> Result<Sample> {
        let values = self.values(records, own, metric)?;
        let compared = self.than.is_some() || self.than_metric.is_some();
        if !compared {
            return Ok(Sample(values.into_iter().map(|(_, x)| x).collect()));
        }
        let arm = self.than.as_deref().unwrap_or(own);
        let other = self.values(records, arm, self.than_metric.as_deref().unwrap_or(metric))?;
        let combine = |x: f64, y: f64| if self.ratio { x / y } else { x - y };
        let pair = |&(seed, x): &(i64, f64)| other.iter().find(|(s, _)| *s == seed).map(|(_, y)| combine(x, *y));
        let pairs: Vec<f64> = values.iter().filter_map(pair).collect();
        ensure!(!pairs.is_empty(), "no seed of {own} and {arm} is done");
        Ok(Sample(pairs))
    }

    fn values(&self, records: &[Record], arm: &str, metric: &str) -> Result<Vec<(i64, f64)>> {
        let mut values = Vec::new();
        for record in records.iter().filter(|r| r.arm == arm) {
            if record.status != "done" {
                bail!("{} is {}", record.folder.display(), record.status);
            }
            let value = record.metric(metric);
            values.push((
                record.seed,
                value.with_context(|| format!("{} has no metric {metric}", record.folder.display()))?,
            ));
        }
        ensure!(!values.is_empty(), "no run of the arm {arm}");
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(arm: &str, summary: serde_json::Value) -> Record {
        Record {
            folder: arm.into(),
            method: String::new(),
            preset: String::new(),
            arm: arm.to_owned(),
            seed: 0,
            status: "done".into(),
            record: serde_json::Map::new(),
            summary: summary.as_object().expect("an object").clone(),
        }
    }

    fn judge(claim: &str) -> Verdict {
        let records = [
            record("plain", json!({"size.fc1": 4.0, "size.fc2": 2.0, "size": 9.0})),
            record("small", json!({"size.fc1": 1.0, "size.fc2": 1.9, "size": 9.5})),
            record("tiny", json!({"size.fc1": 0.5, "size.fc2": 0.5, "size": 0.5})),
        ];
        let claim: Claim = toml::from_str(&format!("says = \"\"\n{claim}")).expect("a claim");
        claim.judge(&records).expect("a verdict")
    }

    #[test]
    fn a_starred_metric_must_hold_for_each_that_begins_so() {
        assert!(judge("arm = \"small\"\nmetric = \"size.*\"\nthan = \"plain\"\nat_most = 0.0").holds);
        let halved = judge("arm = \"small\"\nmetric = \"size.*\"\nthan = \"plain\"\nratio = true\nat_most = 0.5");
        assert!(!halved.holds && halved.measured.starts_with("size.fc2 0.95"), "{}", halved.measured);
    }

    #[test]
    fn another_arm_may_satisfy_the_claim() {
        let claim = "arm = \"small\"\nmetric = \"size\"\nthan = \"plain\"\nat_most = 0.0";
        assert!(!judge(claim).holds);
        assert!(judge(&format!("{claim}\nor_arms = [\"tiny\"]")).holds);
    }
}
