//! `reglab <verb> <method>` and `reglab run FILE`: from arguments to finished runs and a table of arms.

use anyhow::{Result, anyhow, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use toml::Value;

use super::Talk;
use crate::config::{Layer, Resolved, get};
use crate::methods::{self, Method, resolve_arms};
use crate::report::{self, Finished};
use crate::run::{Interrupted, Progress, Run, Summary, install_signals, physical_cores};
use crate::{Usage, data, first_line};

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

#[derive(Args)]
pub struct RunArgs {
    /// Preset to run, or to lay a file over
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Experiment file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only these arms (default: all of the preset or file)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    arm: Vec<String>,
    /// Methods to add to the training, with their own defaults (fields: with.NAME.FIELD=VALUE)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    with: Vec<String>,
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
    /// A checkpoint to measure, for methods that have the field method.weights; without preset or file nothing else is run
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
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

impl RunFile {
    pub fn execute(mut self) -> Result<i32> {
        if self.rest.config.is_some() {
            bail!(Usage("reglab run takes its file as an argument, not with -c".into()));
        }
        let file = Layer::file(&self.file).map_err(Usage::from)?;
        let Some(name) = get(file.table(), "method.name").and_then(Value::as_str) else {
            bail!(Usage(format!(
                "{} does not name its method: it needs method.name (in [method])",
                self.file.display()
            )));
        };
        let method = methods::find(name).map_err(Usage::from)?;
        self.rest.config = Some(self.file);
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
        let mut last = self.with.iter().map(|name| methods::add_on_layer(name)).collect::<Result<Vec<_>>>()?;
        last.extend(self.overrides.iter().map(|o| Layer::key_value(o)).collect::<Result<Vec<_>>>()?);
        if let Some(path) = &self.weights {
            let path = Value::from(path.to_string_lossy().into_owned());
            last.push(Layer::key_value(&format!("method.weights={path}"))?);
        }
        if let Some(seed) = self.seed {
            last.push(Layer::key_value(&format!("seed={seed}"))?);
        }
        if let Some(device) = &self.place.device {
            last.push(Layer::key_value(&format!("device={device}"))?);
        }
        if self.tensorboard {
            last.push(Layer::key_value("tensorboard=true")?);
        }
        resolve_arms(method, &layers, &last, &self.arm, &label)
    }
}

/// `[<arm>-]<preset>-s<seed>-<UTC time>-<4 hex>`: two runs never collide.
pub fn run_name(config: &Resolved) -> String {
    let arm = if config.header.arm.is_empty() { String::new() } else { format!("{}-", config.header.arm) };
    let now = chrono::Utc::now();
    let nonce =
        crate::rng::mix(now.timestamp_nanos_opt().unwrap_or_default() as u64 ^ u64::from(std::process::id()), &arm)
            & 0xffff;
    format!("{arm}{}-s{}-{}-{nonce:04x}", config.header.preset, config.header.seed, now.format("%Y%m%d-%H%M%S"))
}

/// One run to make.
pub struct Spec {
    pub method: &'static Method,
    pub config: Resolved,
    pub name: String,
    pub force: bool,
}

/// Makes the runs, in order or `--jobs` at a time. A failed one is reported and does not stop the others; a signal does.
pub fn run_all(specs: &[Spec], place: &Place) -> Result<Vec<Finished>> {
    install_signals();
    let several = specs.len() > 1;
    let mut finished = Vec::new();
    if place.jobs > 1 && several {
        return super::verify::run_in_processes(specs, place);
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
        finished.push(Finished {
            arm: spec.config.header.arm.clone(),
            seed: spec.config.header.seed,
            folder: folder(spec, place),
            outcome,
        });
    }
    Ok(finished)
}

pub fn folder(spec: &Spec, place: &Place) -> PathBuf {
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
    drive(spec.method, run)
}

/// Runs the method in its open folder and closes it, whatever happens; a panic of the binding becomes an error.
pub fn drive(method: &Method, mut run: Run) -> Result<Summary> {
    let path = run.folder().display().to_string();
    run.progress.say(&format!("{} {} -> {path}", method.verb.name(), method.name));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (method.run)(&mut run)));
    let outcome = outcome.unwrap_or_else(|cause| Err(anyhow!("{}", first_line(cause.as_ref()))));
    let outcome = run.finish(outcome);
    if outcome.as_ref().is_err_and(|e| e.is::<Interrupted>()) {
        eprintln!("stopped; go on with: reglab resume {path}");
    }
    outcome
}

/// Sets libtorch's threads: `wanted`, or one for each physical core.
pub fn set_threads(wanted: usize) {
    let threads = if wanted > 0 { wanted } else { physical_cores() };
    let limit = std::env::var("OMP_NUM_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    tch::set_num_threads(threads.min(if wanted > 0 { usize::MAX } else { limit }) as i32);
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
