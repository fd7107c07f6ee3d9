//! Whether a claim holds on finished runs, and by how much.

use anyhow::{Context, Result, bail, ensure};

use super::claims::Claim;
use super::statistics::precise as number;
use super::{Record, Sample};

/// How a claim came out.
pub struct Verdict {
    pub holds: bool,
    /// The measured number with its standard error, and the bound.
    pub measured: String,
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
        if !self.along.is_empty() {
            return self.judge_along(records);
        }
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

    /// Every step along the axis must lie in the bounds.
    fn judge_along(&self, records: &[Record]) -> Result<Verdict> {
        let alone = self.than.is_none() && self.than_metric.is_none() && self.or_arms.is_empty();
        ensure!(alone, "claim {:?}: along goes with neither than, than_metric nor or_arms", self.says);
        let arms: Vec<&String> = std::iter::once(&self.arm).chain(&self.along).collect();
        let mean = |arm: &&String| {
            let sample = Sample(self.values(records, arm, &self.metric)?.into_iter().map(|(_, x)| x).collect());
            Ok(format!("{} {}", arm, with_error(&sample)))
        };
        let means = arms.iter().map(mean).collect::<Result<Vec<_>>>()?.join(", ");
        let step = |pair: &[&String]| {
            let sample = self.paired(records, (pair[1], &self.metric), (pair[0], &self.metric))?;
            let verdict = self.judge_sample(&sample);
            Ok((format!("from {} to {}: {}", pair[0], pair[1], verdict.measured), verdict.holds))
        };
        let steps = arms.windows(2).map(step).collect::<Result<Vec<_>>>()?;
        let holds = steps.iter().all(|(_, holds)| *holds);
        // The first step that does not hold, or all of them.
        let failed = steps.iter().find(|(_, holds)| !holds);
        let told: Vec<&str> = match failed {
            Some((text, _)) => vec![text],
            None => steps.iter().map(|(text, _)| text.as_str()).collect(),
        };
        Ok(Verdict { holds, measured: format!("{means}; {}", told.join("; ")) })
    }

    fn judge_metric(&self, records: &[Record], arm: &str, metric: &str) -> Result<Verdict> {
        Ok(self.judge_sample(&self.sample(records, arm, metric)?))
    }

    fn judge_sample(&self, sample: &Sample) -> Verdict {
        let low = self.at_least.unwrap_or(f64::NEG_INFINITY);
        let high = self.at_most.unwrap_or(f64::INFINITY);
        let inside = |x: f64| x >= low && x <= high;
        let holds = if self.every { sample.0.iter().all(|&x| inside(x)) } else { inside(sample.mean()) };
        let worst = sample.0.iter().copied().find(|&x| !inside(x)).filter(|_| self.every);
        let worst = worst.map_or(String::new(), |x| format!(", worst seed {}", number(x)));
        let bound =
            [self.at_least.map(|b| format!(">= {}", number(b))), self.at_most.map(|b| format!("<= {}", number(b)))];
        let bound = bound.into_iter().flatten().collect::<Vec<_>>().join(" and ");
        // A mean this near to its bound would fall on the other side with other seeds now and then.
        let distance = (sample.mean() - low).abs().min((sample.mean() - high).abs());
        let near = sample.error().is_some_and(|e| e > 0.0 && distance < 2.0 * e);
        let near = if near { ", within 2 s.e. of the bound" } else { "" };
        Verdict { holds, measured: format!("{}{worst}, needed {bound}{near}", with_error(sample)) }
    }

    /// The value of each seed, paired by seed where two arms are compared.
    fn sample(&self, records: &[Record], own: &str, metric: &str) -> Result<Sample> {
        if self.than.is_none() && self.than_metric.is_none() {
            return Ok(Sample(self.values(records, own, metric)?.into_iter().map(|(_, x)| x).collect()));
        }
        let arm = self.than.as_deref().unwrap_or(own);
        self.paired(records, (own, metric), (arm, self.than_metric.as_deref().unwrap_or(metric)))
    }

    /// One (arm, metric) against another, seed by seed.
    fn paired(&self, records: &[Record], (own, metric): (&str, &str), (arm, other): (&str, &str)) -> Result<Sample> {
        let values = self.values(records, own, metric)?;
        let other = self.values(records, arm, other)?;
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

/// `0.42 (s.e. 0.03, n = 5)`.
fn with_error(sample: &Sample) -> String {
    let mean = number(sample.mean());
    match sample.error() {
        Some(error) => format!("{mean} (s.e. {}, n = {})", number(error), sample.n()),
        None => format!("{mean} (one seed, no s.e.)"),
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

    #[test]
    fn a_metric_is_followed_along_an_axis_seed_by_seed() {
        let records: Vec<Record> =
            [("low", 0, 1.0), ("low", 1, 2.0), ("mid", 0, 1.5), ("mid", 1, 2.5), ("high", 0, 1.4)]
                .map(|(arm, seed, depth)| Record { seed, ..record(arm, json!({"depth": depth})) })
                .into();
        let judge = |along: &str, bound: &str| {
            let text = format!("says = \"\"\narm = \"low\"\nalong = {along}\nmetric = \"depth\"\n{bound}");
            toml::from_str::<Claim>(&text).expect("a claim").judge(&records).expect("a verdict")
        };
        let rises = judge("[\"mid\"]", "at_least = 0.5");
        assert!(rises.holds);
        let told =
            "low 1.5 (s.e. 0.5, n = 2), mid 2 (s.e. 0.5, n = 2); from low to mid: 0.5 (s.e. 0, n = 2), needed >= 0.5";
        assert_eq!(rises.measured, told);
        let falls = judge("[\"mid\", \"high\"]", "at_least = 0.0");
        assert!(
            !falls.holds && falls.measured.contains("from mid to high: -0.1 (one seed, no s.e.)"),
            "{}",
            falls.measured
        );
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
