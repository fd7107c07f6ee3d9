//! `reglab <verb> <method>` and `reglab run FILE`: from arguments to finished runs and a table of arms.

use anyhow::{Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use toml::Value;

use super::Talk;
use crate::config::{Layer, Resolved, get};
use crate::methods::{self, Method, resolve_arms};
use crate::report::{self, Finished};
use crate::run::{Interrupted, Progress, Run, Summary, install_signals, set_threads};
use crate::sweep::job::Begin;
use crate::sweep::{Job, Pool};
use crate::{Usage, data};

/// Where runs go and how they are made: shared by all commands that make runs.
#[derive(Args, Clone)]
pub struct Place {
    /// Where to compute: cpu, cuda, cuda:N or auto
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// The results tree
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Where data sets lie (default: $REGLAB_DATA, else data/)
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Runs at a time, each in a process of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub jobs: u64,
    #[command(flatten)]
    pub talk: Talk,
}

/// Where the fields of a run come from.
#[derive(Args)]
pub struct Source {
    /// Preset to run, or to lay a file over
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Experiment file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only these arms (default: all of the preset or file)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub arm: Vec<String>,
    /// Methods to add to the training, with their own defaults (fields: with.NAME.FIELD=VALUE)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub with: Vec<String>,
    /// A checkpoint to measure, for methods that have the field method.weights; without preset or file nothing else is run
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    source: Source,
    /// Seed of the run
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Name of the run's folder (default: made from arm, preset, seed and time)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Start an existing --name anew
    #[arg(long)]
    force: bool,
    /// Keep a TensorBoard event file in each run folder, too
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    place: Place,
    /// Fields to change: train.epochs=50 method.sparsity=0.9 seed=3
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Args)]
pub struct RunFile {
    /// Experiment file (it names its method), or the config.toml of an earlier run
    file: PathBuf,
    #[command(flatten)]
    rest: RunArgs,
}

/// The method that a file names.
pub fn method_of(path: &Path) -> Result<&'static Method> {
    let file = Layer::file(path)?;
    let Some(name) = get(file.table(), "method.name").and_then(Value::as_str) else {
        bail!("{} does not name its method: it needs method.name (in [method])", path.display());
    };
    methods::find(name)
}

impl Source {
    /// The texts, lowest first, and the label of runs made from them.
    pub fn layers(&self, method: &Method) -> Result<(Vec<Layer>, String)> {
        let mut layers = Vec::new();
        let preset = match (&self.preset, &self.config) {
            (Some(name), _) => Some(name.as_str()),
            (None, Some(_)) => None,
            (None, None) => self.weights.is_none().then_some("quick"),
        };
        if let Some(name) = preset {
            layers.push(Layer::text(&format!("preset {name}"), method.preset(name)?)?);
        }
        if let Some(path) = &self.config {
            layers.push(Layer::file(path)?);
        }
        let label = match &self.config {
            Some(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            None => preset.unwrap_or("weights").to_owned(),
        };
        Ok((layers, label))
    }

    /// The add-ons and the weights, to be laid over the texts.
    pub fn added(&self) -> Result<Vec<Layer>> {
        let mut added = self.with.iter().map(|name| methods::add_on_layer(name)).collect::<Result<Vec<_>>>()?;
        if let Some(path) = &self.weights {
            let path = Value::from(path.to_string_lossy().into_owned());
            added.push(Layer::key_value(&format!("method.weights={path}"))?);
        }
        Ok(added)
    }
}

impl Place {
    /// A pool of `--jobs` workers.
    pub fn pool(&self, logs: PathBuf) -> Pool {
        Pool {
            workers: self.jobs as usize,
            gpus: Vec::new(),
            data_root: data::data_root(self.data_root.as_deref()),
            logs,
            retries: 0,
            verbosity: self.talk.verbosity(),
        }
    }
}

impl RunFile {
    pub fn execute(mut self) -> Result<i32> {
        if self.rest.source.config.is_some() {
            bail!(Usage("reglab run takes its file as an argument, not with -c".into()));
        }
        let method = method_of(&self.file).map_err(Usage::from)?;
        self.rest.source.config = Some(self.file);
        self.rest.execute(method)
    }
}

impl RunArgs {
    pub fn execute(self, method: &'static Method) -> Result<i32> {
        let runs = self.plan(method).map_err(Usage::from)?;
        let several = runs.len() > 1;
        let specs = runs.into_iter().map(|config| {
            let name = match &self.name {
                Some(name) if several => format!("{}-{name}", config.header.arm),
                Some(name) => name.clone(),
                None => run_name(&config),
            };
            Spec { method, config, name, force: self.force }
        });
        let specs: Vec<Spec> = specs.collect();
        let finished = run_all(&specs, &self.place)?;
        println!("{}", report::arms_table(method, &finished));
        let failed = finished.iter().filter(|f| f.outcome.is_err()).count();
        if several {
            println!(
                "{} runs below {}",
                finished.len(),
                self.place.results.join(method.verb.name()).join(method.name).display()
            );
        }
        Ok(i32::from(failed > 0))
    }

    /// The resolved configurations: one an arm.
    fn plan(&self, method: &'static Method) -> Result<Vec<Resolved>> {
        let (layers, label) = self.source.layers(method)?;
        let mut last = self.source.added()?;
        last.extend(self.overrides.iter().map(|o| Layer::key_value(o)).collect::<Result<Vec<_>>>()?);
        if let Some(seed) = self.seed {
            last.push(Layer::key_value(&format!("seed={seed}"))?);
        }
        if let Some(device) = &self.place.device {
            last.push(Layer::key_value(&format!("device={device}"))?);
        }
        if self.tensorboard {
            last.push(Layer::key_value("tensorboard=true")?);
        }
        resolve_arms(method, &layers, &last, &self.source.arm, &label)
    }
}

/// `[<arm>-]<preset>-s<seed>-<UTC time>-<4 hex>`: two runs never collide.
fn run_name(config: &Resolved) -> String {
    let arm = if config.header.arm.is_empty() { String::new() } else { format!("{}-", config.header.arm) };
    let now = chrono::Utc::now();
    let nonce =
        crate::rng::mix(now.timestamp_nanos_opt().unwrap_or_default() as u64 ^ u64::from(std::process::id()), &arm)
            & 0xffff;
    format!("{arm}{}-s{}-{}-{nonce:04x}", config.header.preset, config.header.seed, now.format("%Y%m%d-%H%M%S"))
}

/// One run to make.
struct Spec {
    method: &'static Method,
    config: Resolved,
    name: String,
    force: bool,
}

/// Makes the runs, in order or `--jobs` at a time. A failed one is reported and does not stop the others; a signal does.
fn run_all(specs: &[Spec], place: &Place) -> Result<Vec<Finished>> {
    install_signals();
    let several = specs.len() > 1;
    let mut finished = Vec::new();
    if place.jobs > 1 && several {
        return run_in_pool(specs, place);
    }
    set_threads(specs.first().map_or(0, |s| s.config.header.threads));
    for spec in specs {
        let outcome = run_one(spec, place);
        if let Err(error) = &outcome {
            if error.is::<Interrupted>() || !several {
                return Err(outcome.unwrap_err());
            }
            eprintln!("error: {}: {error:#}", spec.name);
        }
        finished.push(spec.finished(place, outcome));
    }
    Ok(finished)
}

/// The same with `--jobs` worker processes.
fn run_in_pool(specs: &[Spec], place: &Place) -> Result<Vec<Finished>> {
    let job = |spec: &Spec| {
        let begin = if spec.force { Begin::Anew } else { Begin::New };
        Ok(Job { folder: folder(spec, place), config: spec.config.to_toml()?, begin })
    };
    let jobs = specs.iter().map(job).collect::<Result<Vec<_>>>()?;
    let ends = place.pool(place.results.join(".workers")).run(jobs)?;
    Ok(specs.iter().zip(ends).map(|(spec, outcome)| spec.finished(place, outcome)).collect())
}

impl Spec {
    fn finished(&self, place: &Place, outcome: Result<Summary>) -> Finished {
        let header = &self.config.header;
        Finished { arm: header.arm.clone(), seed: header.seed, folder: folder(self, place), outcome }
    }
}

fn folder(spec: &Spec, place: &Place) -> PathBuf {
    place.results.join(spec.method.verb.name()).join(spec.method.name).join(&spec.name)
}

fn run_one(spec: &Spec, place: &Place) -> Result<Summary> {
    if spec.name.is_empty() || spec.name.contains('/') || spec.name.starts_with('.') {
        bail!(Usage(format!("--name {:?} cannot be the name of a folder", spec.name)));
    }
    let root = data::data_root(place.data_root.as_deref());
    let run = Run::create(
        &folder(spec, place),
        spec.config.clone(),
        &root,
        Progress::new(place.talk.verbosity()),
        spec.force,
    )?;
    methods::drive(spec.method, run)
}

/// Where a path given on the command line is a run folder.
pub fn is_run(path: &Path) -> bool {
    path.join("config.toml").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::claims::Claims;

    /// Every arm of every preset is a whole, valid configuration, and every claim names an arm there is.
    #[test]
    fn presets_and_claims_are_whole() {
        for method in methods::ALL {
            let claims = Claims::parse(method.name, method.claims).unwrap();
            for (name, text) in method.presets {
                let origin = format!("{} {name}", method.name);
                let runs = Layer::text(&origin, text)
                    .and_then(|layer| resolve_arms(method, &[layer], &[], &[], name))
                    .unwrap_or_else(|e| panic!("{e:#}"));
                let paper = claims.paper.iter().filter_map(|claim| claim.ours.as_ref()).filter(|o| o.preset == *name);
                for arm in paper.flat_map(|ours| &ours.arms) {
                    assert!(runs.iter().any(|run| run.header.arm == *arm), "{origin}: ours names the arm {arm}");
                }
                let Some(claimed) = claims.preset.get(*name) else { continue };
                for arm in claimed.arms() {
                    assert!(runs.iter().any(|run| run.header.arm == arm), "{origin}: a claim names the arm {arm}");
                }
            }
        }
    }
}
