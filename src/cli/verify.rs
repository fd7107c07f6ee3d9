//! `reglab verify METHOD`: run what the claims speak of and is missing, then judge them.

use anyhow::{Context, Result, anyhow};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::run::{Place, Spec, folder, run_all, run_name};
use crate::Usage;
use crate::config::Layer;
use crate::methods::{self, Method, resolve_arms};
use crate::report::claims::Claims;
use crate::report::{Finished, Record, grouped_table, scan};
use crate::run::{physical_cores, write_atomically};

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
                None => missing.push(Spec { method, name: run_name(&config), config, force: false }),
            }
        }
        if !self.place.talk.quiet {
            eprintln!("{}: {} runs to make, {} done already", method.name, missing.len(), records.len());
        }
        for run in run_all(&missing, &self.place)? {
            records
                .push(Record::read(&run.folder).with_context(|| format!("{} left no record", run.folder.display()))?);
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

/// `run_all` with `--jobs` worker processes, each with its share of the threads.
pub fn run_in_processes(specs: &[Spec], place: &Place) -> Result<Vec<Finished>> {
    let program = std::env::current_exe().context("cannot find the reglab program itself")?;
    let threads = (physical_cores() / place.jobs as usize).max(1);
    let scratch = place.results.join(format!(".work-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let mut waiting = specs.iter();
    let mut working: Vec<(&Spec, Child)> = Vec::new();
    let mut finished = Vec::new();
    let outcome: Result<()> = loop {
        while working.len() < place.jobs as usize {
            let Some(spec) = waiting.next() else { break };
            match start(&program, spec, place, &scratch, threads) {
                Ok(child) => working.push((spec, child)),
                Err(error) => finished.push(close(spec, place, Err(error))),
            }
        }
        if let Some(signal) = crate::run::pending_signal() {
            // The terminal has told the workers too; SIGTERM reaches only us.
            working.iter().for_each(|(_, child)| terminate(child));
            working.iter_mut().for_each(|(_, child)| drop(child.wait()));
            break Err(signal.into());
        }
        let over = working.iter_mut().position(|(_, child)| !matches!(child.try_wait(), Ok(None)));
        match over {
            Some(index) => {
                let (spec, mut child) = working.swap_remove(index);
                let status = child.wait().context("cannot wait for a worker");
                finished.push(close(spec, place, status.map(drop)));
                if !place.talk.quiet {
                    eprintln!("{} of {} runs: {}", finished.len(), specs.len(), spec.name);
                }
            }
            None if working.is_empty() => break Ok(()),
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    let _ = std::fs::remove_dir_all(&scratch);
    outcome?;
    let place_of = |f: &Finished| specs.iter().position(|s| folder(s, place) == f.folder);
    finished.sort_by_key(place_of);
    Ok(finished)
}

fn start(program: &Path, spec: &Spec, place: &Place, scratch: &Path, threads: usize) -> Result<Child> {
    let file: PathBuf = scratch.join(format!("{}.toml", spec.name));
    write_atomically(&file, spec.config.to_toml()?.as_bytes())?;
    let mut command = Command::new(program);
    command.arg("run").arg(file).args(["--quiet", "--name", &spec.name]).arg("--results").arg(&place.results);
    if let Some(root) = &place.data_root {
        command.arg("--data-root").arg(root);
    }
    if spec.force {
        command.arg("--force");
    }
    command.env("OMP_NUM_THREADS", threads.to_string()).stdout(Stdio::null());
    command.spawn().with_context(|| format!("cannot start a worker for {}", spec.name))
}

fn terminate(child: &Child) {
    // SAFETY: a plain system call on a process of ours that has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
}

/// What a worker left behind.
fn close(spec: &Spec, place: &Place, status: Result<()>) -> Finished {
    let folder = folder(spec, place);
    let outcome = status.and_then(|()| match Record::read(&folder) {
        Some(record) if record.status == "done" => Ok(record.summary),
        Some(record) => {
            let reason =
                record.record.get("reason").and_then(|r| r.as_str()).unwrap_or("the worker was killed").to_owned();
            Err(anyhow!("{reason}"))
        }
        None => Err(anyhow!("the worker ended before it began")),
    });
    if let Err(error) = &outcome {
        eprintln!("error: {}: {error:#}", spec.name);
    }
    Finished { arm: spec.config.header.arm.clone(), seed: spec.config.header.seed, folder, outcome }
}
