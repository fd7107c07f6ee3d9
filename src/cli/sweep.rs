//! `reglab sweep`: a grid of runs, each made once, here or as a job array.

use anyhow::{Result, bail, ensure};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

use super::run::{Place, Source, method_of};
use crate::config::{Layer, Resolved};
use crate::methods::{self, Method, lay_arms, resolve_arms};
use crate::report::{self, Record, Stat, scan, sheets};
use crate::run::{Interrupted, Status, Verbosity};
use crate::sweep::grid::{self, Setting};
use crate::sweep::job::Begin;
use crate::sweep::slurm::{self, Cluster};
use crate::sweep::store::Asked;
use crate::sweep::{Job, Point, Pool, Store};
use crate::{Usage, data};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Sweep {
    #[command(subcommand)]
    look: Option<Look>,
    /// Experiment file, or the name of a method (then its quick preset, or --preset)
    #[arg(required = true, value_name = "FILE|METHOD")]
    what: Option<String>,
    /// The grid: method.sparsity=0.5,0.7 seed=0..5; zipped: train.epochs,train.batch=10:32,20:64
    #[arg(value_name = "KEY=VALUES")]
    grid: Vec<String>,
    #[command(flatten)]
    source: Source,
    /// Name of the sweep's folder below results/sweeps (default: made from the grid)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Run everything anew, also what is done already
    #[arg(long)]
    force: bool,
    /// How often a run that fails, or whose worker dies, is tried again
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Run on these GPUs, one run on each at a time
    #[arg(long, value_name = "N,N", value_delimiter = ',', conflicts_with_all = ["jobs", "device"])]
    gpus: Vec<usize>,
    /// Print the grid and how long it may take; run nothing
    #[arg(long)]
    dry_run: bool,
    /// Submit as a SLURM job array: any option of sbatch, and chunk=N (runs a task), throttle=N (tasks at a time), array-size=N
    #[arg(long, value_name = "KEY=VALUE,...", conflicts_with_all = ["gpus", "jobs", "force"])]
    slurm: Vec<String>,
    /// With --slurm: write the job-array script, do not submit it
    #[arg(long)]
    slurm_script: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Look {
    /// What is done, running, queued, failed and missing, and the results so far
    Status(StatusArgs),
    /// One task of a job array; not for users
    #[command(hide = true)]
    Task(Task),
}

#[derive(Args)]
struct StatusArgs {
    /// Name or folder of the sweep (default: the only one)
    sweep: Option<PathBuf>,
    /// The results tree
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

#[derive(Args)]
struct Task {
    /// Folder of the sweep
    folder: PathBuf,
    /// Number of the job array
    array: usize,
    /// Index of the task
    index: usize,
    #[arg(long, value_name = "DIR")]
    data_root: PathBuf,
    #[arg(long, value_name = "N")]
    retries: u32,
}

impl Sweep {
    pub fn execute(mut self) -> Result<i32> {
        match self.look.take() {
            Some(Look::Status(status)) => return status.execute(),
            Some(Look::Task(task)) => return task.execute(),
            None => {}
        }
        let (method, cluster) = self.read().map_err(Usage::from)?;
        let (asked, points) = self.points(method, cluster.as_ref()).map_err(Usage::from)?;
        if self.dry_run {
            print!("{}", dry_run(method, &points, &self.place.results, self.workers(), self.force)?);
            return Ok(0);
        }
        let name = self.name.as_deref();
        if let Some(name) = name.filter(|n| n.is_empty() || n.contains('/') || n.starts_with('.')) {
            bail!(Usage(format!("--name {name:?} cannot be the name of a folder")));
        }
        let store = Store::create(&self.place.results, name, asked, points).map_err(Usage::from)?;
        match cluster {
            Some(cluster) => self.submit(&store, &cluster),
            None => self.make(method, &store),
        }
    }

    /// The method, and the cluster if there is one. Sets the source's file.
    fn read(&mut self) -> Result<(&'static Method, Option<Cluster>)> {
        let what = self.what.clone().unwrap_or_default();
        let path = Path::new(&what);
        let method = if path.is_file() || path.extension().is_some_and(|e| e == "toml") {
            ensure!(
                self.source.config.is_none(),
                "reglab sweep {what} has its file already: -c is for a method's name"
            );
            self.source.config = Some(path.to_owned());
            method_of(path)?
        } else {
            methods::find(&what)?
        };
        ensure!(!self.slurm_script || !self.slurm.is_empty(), "--slurm-script needs --slurm KEY=VALUE,...");
        let cluster = if self.slurm.is_empty() { None } else { Some(Cluster::parse(&self.slurm)?) };
        Ok((method, cluster))
    }

    fn points(&self, method: &'static Method, cluster: Option<&Cluster>) -> Result<(Asked, Vec<Point>)> {
        let (layers, label) = self.source.layers(method)?;
        let combinations = grid::combinations(&grid::parse(&self.grid)?);
        let device = match (&self.place.device, &self.gpus[..]) {
            (Some(device), _) => Some(device.clone()),
            (None, []) => None,
            (None, gpus) => {
                let count = tch::Cuda::device_count().max(0) as usize;
                if let Some(gpu) = gpus.iter().find(|&&gpu| gpu >= count) {
                    bail!("--gpus names {gpu}, but there are {count} GPUs here; `reglab doctor` says why");
                }
                // Each worker sees one GPU only: the number is no part of a run's configuration.
                Some("cuda:0".to_owned())
            }
        };
        let mut arms: Vec<Vec<Point>> = Vec::new();
        for chosen in &combinations {
            let mut last = self.source.added()?;
            last.extend(chosen.iter().map(|(k, v)| Layer::key_value(&format!("{k}={v}"))).collect::<Result<Vec<_>>>()?);
            last.extend(device.iter().map(|d| Layer::key_value(&format!("device={d}"))).collect::<Result<Vec<_>>>()?);
            let configs = match cluster {
                None => resolve_arms(method, &layers, &last, &self.source.arm, &label)?,
                Some(cluster) => {
                    let mut configs = lay_arms(method, &layers, &last, &self.source.arm, &label)?;
                    configs.iter_mut().try_for_each(|config| cluster.settle_device(config))?;
                    configs
                }
            };
            arms.resize_with(configs.len(), Vec::new);
            for (arm, config) in arms.iter_mut().zip(&configs) {
                arm.push(Point::new(config, setting(config, chosen), "")?);
            }
        }
        let mut points: Vec<Point> = Vec::new();
        let mut ids = std::collections::HashSet::new();
        points.extend(arms.into_iter().flatten().filter(|p| ids.insert(p.id.clone())));
        let asked = Asked { method: method.name.to_owned(), preset: label, grid: self.grid.clone() };
        Ok((asked, points))
    }

    fn workers(&self) -> usize {
        if self.gpus.is_empty() { self.place.jobs as usize } else { self.gpus.len() }
    }

    /// Makes what is missing, here.
    fn make(&self, method: &'static Method, store: &Store) -> Result<i32> {
        let _only = store.lock()?;
        let results = &self.place.results;
        let missing: Vec<&Point> =
            store.points.iter().filter(|p| self.force || p.status(results) != Status::Done).collect();
        let done = store.points.len() - missing.len();
        if !self.place.talk.quiet {
            let folder = store.folder.display();
            eprintln!(
                "{}: {} points, {done} done already, {} to run; {folder}",
                method.name,
                store.points.len(),
                missing.len()
            );
            warn_of_other_revisions(&store.points, results, self.force);
        }
        let begin = if self.force { Begin::Anew } else { Begin::GoOn };
        let pool = Pool {
            workers: self.workers(),
            gpus: self.gpus.iter().map(|&gpu| visible_gpu(gpu)).collect(),
            retries: self.retries,
            ..self.place.pool(store.folder.join("workers"))
        };
        let ends = pool.run(missing.iter().map(|p| job(p, results, begin)).collect());
        if ends.as_ref().is_err_and(|e| e.is::<Interrupted>()) {
            let done = store.points.iter().filter(|p| p.status(results) == Status::Done).count();
            eprintln!("stopped with {done} of {} points done; the same command goes on", store.points.len());
        }
        let failed = ends?.iter().filter(|end| end.is_err()).count();
        print!("{}", table(store)?);
        if failed > 0 {
            println!("{failed} of {} points failed; the same command tries them again", store.points.len());
        }
        Ok(i32::from(failed > 0))
    }

    /// Makes job arrays of what is missing and in no queue.
    fn submit(&self, store: &Store, cluster: &Cluster) -> Result<i32> {
        let data_root = std::path::absolute(data::data_root(self.place.data_root.as_deref()))?;
        let queued = slurm::queue(store);
        let missing: Vec<&Point> = store
            .points
            .iter()
            .filter(|p| p.status(&store.results) != Status::Done && !queued.iter().any(|q| q.ids.contains(&p.id)))
            .collect();
        println!("{} points, {} to submit; {}", store.points.len(), missing.len(), store.folder.display());
        for array in cluster.write(store, &missing, &data_root, self.retries)? {
            if self.slurm_script {
                println!("sbatch {}", slurm::quote(&array.script.display().to_string()));
            } else {
                println!("job {}: {} tasks, {}", array.submit()?, array.tasks, array.script.display());
            }
        }
        Ok(0)
    }
}

impl StatusArgs {
    fn execute(self) -> Result<i32> {
        let store = Store::find(&self.results, self.sweep.as_deref()).map_err(Usage::from)?;
        let queue = slurm::queue(&store);
        let mut counts: Vec<(String, usize)> = Vec::new();
        for point in &store.points {
            let status = point.status(&store.results);
            let waits = queue.iter().find(|q| q.ids.contains(&point.id)).filter(|_| status != Status::Done);
            let word = match waits {
                Some(entry) if status != Status::Running => format!("{} in SLURM", entry.state.to_lowercase()),
                _ => status.name().to_owned(),
            };
            if let Status::Failed(reason) = &status {
                println!("{} failed: {reason}", point.name());
            }
            match counts.iter_mut().find(|(known, _)| *known == word) {
                Some((_, count)) => *count += 1,
                None => counts.push((word, 1)),
            }
        }
        print!("{}", table(&store)?);
        let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        println!("{}: {} points: {}", store.name(), store.points.len(), counts.join(", "));
        Ok(0)
    }
}

impl Task {
    fn execute(self) -> Result<i32> {
        let store = Store::open(&self.folder).map_err(Usage::from)?;
        let points = slurm::task(&store, self.array, self.index).map_err(Usage::from)?;
        let pool = Pool {
            workers: 1,
            gpus: Vec::new(),
            data_root: self.data_root,
            logs: self.folder.join("workers").join(format!("{}-{}", self.array, self.index)),
            retries: self.retries,
            verbosity: Verbosity::Normal,
        };
        let ends = pool.run(points.iter().map(|p| job(p, &store.results, Begin::GoOn)).collect());
        if let Err(Some(signal)) = ends.as_ref().map_err(|e| e.downcast_ref::<Interrupted>())
            && signal.wants_more_time()
        {
            slurm::requeue()?;
        }
        Ok(i32::from(ends?.iter().any(Result::is_err)))
    }
}

/// The job that makes a point's run.
pub fn job(point: &Point, results: &Path, begin: Begin) -> Job {
    Job { folder: point.folder(results), config: point.config.clone(), begin }
}

/// What tells the points of a grid apart: the arm, if there are any, and what the axes chose.
pub fn setting(config: &Resolved, chosen: &Setting) -> Setting {
    let arm = (!config.header.arm.is_empty()).then(|| ("arm".to_owned(), config.header.arm.clone()));
    arm.into_iter().chain(chosen.iter().cloned()).collect()
}

/// The report on the sweep's runs that there are.
fn table(store: &Store) -> Result<String> {
    let records: Vec<Record> = store.points.iter().filter_map(|p| Record::read(&p.folder(&store.results))).collect();
    Ok(report::terminal(&sheets(&records, &[], None)?, &[Stat::Mean, Stat::Std]))
}

fn warn_of_other_revisions(points: &[Point], results: &Path, force: bool) {
    let other = |p: &&Point| {
        let record = Record::read(&p.folder(results)).filter(|r| r.status == "done");
        record.is_some_and(|r| r.record.get("revision").and_then(|v| v.as_str()) != Some(env!("REGLAB_REVISION")))
    };
    let others = points.iter().filter(other).count();
    if others > 0 && !force {
        eprintln!("warning: {others} points were made by another revision of reglab; --force makes them again");
    }
}

/// The name by which CUDA knows the GPU that this process counts as number `gpu`.
fn visible_gpu(gpu: usize) -> String {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    visible.split(',').map(str::trim).filter(|n| !n.is_empty()).nth(gpu).map_or(gpu.to_string(), str::to_owned)
}

/// The grid, and the time that what is missing may take, from the runs of the method that are done.
fn dry_run(method: &Method, points: &[Point], results: &Path, workers: usize, force: bool) -> Result<String> {
    let tree = results.join(method.verb.name()).join(method.name);
    let known = if tree.is_dir() { scan(&tree)? } else { Vec::new() };
    let seconds = |arm: Option<&str>| {
        let of_arm = known.iter().filter(|r| r.status == "done" && arm.is_none_or(|arm| r.arm == arm));
        let times: Vec<f64> = of_arm.filter_map(|r| r.record.get("seconds")?.as_f64()).collect();
        (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64)
    };
    let (mut text, mut missing, mut total) = (String::new(), 0usize, Some(0.0));
    for point in points {
        let status = point.status(results);
        let chosen: Vec<String> = point.setting.iter().map(|(key, value)| format!("{key}={value}")).collect();
        text += &format!("{}  {:11}  {}\n", point.id, status.name(), chosen.join(" "));
        if status != Status::Done || force {
            missing += 1;
            let arm = point.setting.iter().find(|(key, _)| key == "arm").map(|(_, arm)| arm.as_str());
            let one = arm.and_then(|arm| seconds(Some(arm))).or_else(|| seconds(None));
            total = total.zip(one).map(|(sum, one)| sum + one);
        }
    }
    text += &format!("{} points, {missing} to run", points.len());
    text += &match total {
        Some(total) if missing > 0 => {
            format!(", about {:.0} s with {workers} at a time", (total / workers.min(missing) as f64).ceil())
        }
        None => format!("; no estimate: no run of {} is done yet below {}", method.name, results.display()),
        _ => String::new(),
    };
    Ok(text + "\n")
}
