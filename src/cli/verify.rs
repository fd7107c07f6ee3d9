//! `reglab verify METHOD`: run what the claims speak of and is missing, then judge them.

use anyhow::{Context, Result};
use clap::Args;

use super::run::Place;
use super::sweep::{job, setting};
use crate::Usage;
use crate::config::Layer;
use crate::methods::{self, Method, resolve_arms};
use crate::report::claims::Claims;
use crate::report::{Record, grouped_table, scan};
use crate::sweep::Point;
use crate::sweep::job::Begin;

/// A claim is judged on runs of this very revision.
const EDITION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("REGLAB_REVISION"));

#[derive(Args)]
pub struct Verify {
    /// The method (default with --all: every one)
    #[arg(required_unless_present = "all")]
    method: Option<String>,
    /// Every method
    #[arg(long, conflicts_with = "method")]
    all: bool,
    /// Preset whose claims are judged
    #[arg(long, value_name = "NAME", default_value = "quick")]
    preset: String,
    /// Run everything again, also what is done already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Place,
}

impl Verify {
    pub fn execute(self) -> Result<i32> {
        let chosen: Vec<&'static Method> = match &self.method {
            Some(name) => vec![methods::find(name).map_err(Usage::from)?],
            None => methods::ALL.iter().collect(),
        };
        let mut failed = 0;
        for method in chosen {
            if self.all && !Claims::parse(method.name, method.claims)?.preset.contains_key(&self.preset) {
                println!("{}: claims nothing for the preset {}", method.name, self.preset);
                continue;
            }
            failed += self.verify(method)?;
        }
        Ok(i32::from(failed > 0))
    }

    /// The number of claims of one method that do not hold.
    fn verify(&self, method: &'static Method) -> Result<usize> {
        let claims = Claims::parse(method.name, method.claims)?;
        let wanted = claims.of_preset(method.name, &self.preset).map_err(Usage::from)?;
        let preset =
            Layer::text(&format!("preset {}", self.preset), method.preset(&self.preset).map_err(Usage::from)?)?;
        let arms: Vec<String> = wanted.arms().into_iter().map(str::to_owned).collect();
        let mut configs = Vec::new();
        for seed in 0..wanted.seeds {
            let mut last = vec![Layer::key_value(&format!("seed={seed}"))?];
            if let Some(device) = &self.place.device {
                last.push(Layer::key_value(&format!("device={device}"))?);
            }
            configs.extend(
                resolve_arms(method, std::slice::from_ref(&preset), &last, &arms, &self.preset).map_err(Usage::from)?,
            );
        }
        let tree = self.place.results.join(method.verb.name()).join(method.name);
        let known = if tree.is_dir() && !self.force { scan(&tree)? } else { Vec::new() };
        let mut records = Vec::new();
        let mut missing = Vec::new();
        for config in configs {
            let text = config.to_toml()?;
            match known.iter().position(|r| reusable(r, &text)) {
                Some(index) => records.push(Record::read(&known[index].folder).context("a run vanished")?),
                None => missing.push(Point::new(&config, setting(&config, &Vec::new()), EDITION)?),
            }
        }
        if !self.place.talk.quiet {
            eprintln!("{}: {} runs to make, {} done already", method.name, missing.len(), records.len());
        }
        let results = &self.place.results;
        let logs = results.join("sweeps").join(format!("verify-{}-{}", method.name, self.preset)).join("workers");
        let begin = if self.force { Begin::Anew } else { Begin::GoOn };
        self.place.pool(logs).run(missing.iter().map(|p| job(p, results, begin)).collect())?;
        for point in &missing {
            let folder = point.folder(results);
            records.push(Record::read(&folder).with_context(|| format!("{} left no record", folder.display()))?);
        }
        let metrics: Vec<String> = method.headline.iter().map(|m| m.to_string()).collect();
        println!("{}", grouped_table(&records.iter().collect::<Vec<_>>(), &metrics));
        let mut failed = 0;
        for claim in &wanted.claim {
            match claim.judge(&records) {
                Ok(v) if v.holds => println!("holds  {}: {}", claim.says, v.measured),
                Ok(v) => {
                    failed += 1;
                    println!("FAILS  {}: {}", claim.says, v.measured);
                }
                Err(why) => {
                    failed += 1;
                    println!("FAILS  {}: cannot be judged: {why:#}", claim.says);
                }
            }
        }
        println!(
            "{} {}: {} of {} claims hold",
            method.name,
            self.preset,
            wanted.claim.len() - failed,
            wanted.claim.len()
        );
        Ok(failed)
    }
}

/// A finished run of the very same configuration by the same revision.
fn reusable(record: &Record, config: &str) -> bool {
    let same = |key: &str, value: &str| record.record.get(key).and_then(|v| v.as_str()) == Some(value);
    record.status == "done"
        && same("revision", env!("REGLAB_REVISION"))
        && same("reglab", env!("CARGO_PKG_VERSION"))
        && std::fs::read_to_string(record.folder.join("config.toml")).is_ok_and(|text| text == config)
}
