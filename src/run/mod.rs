//! One run and its folder: `results/<verb>/<method>/<run>/`. Everything a run writes goes through here, so that a kill at
//! any instant loses nothing that was reported and `resume` ends with the same numbers.
//!
//! A run is a sequence of named **phases** (train, finetune, task 3...). The end of a phase is a checkpoint that is kept;
//! whatever a method does between two phases is a pure function of it and simply happens again on resume, with its table
//! rows suppressed until the checkpoint that is resumed has been reached.

mod checkpoint;
mod environment;
mod files;
mod progress;
mod signal;
mod status;
mod table;
mod tensorboard;

pub use checkpoint::{Checkpoint, Meta, State, Weights};
use environment::Environment;
pub use environment::{device, peak_memory_bytes, physical_cores, set_threads};
pub use files::write_atomically;
pub use progress::{Listener, Progress, Verbosity};
pub use signal::{Interrupted, install as install_signals, pending as pending_signal};
pub use status::{Status, record_death, summary};

use anyhow::{Context, Result, anyhow, bail};
use chrono::Utc;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Device;

use crate::config::Resolved;
use table::Table;
use tensorboard::EventFile;

/// The final numbers of a run, one flat object.
pub type Summary = Map<String, Value>;

/// Where a row or checkpoint belongs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp {
    /// Optimizer steps since the start of the run, over all phases.
    pub step: u64,
    /// Epochs since the start of the run; fractions are allowed.
    pub epoch: f64,
}

/// How a phase begins.
pub enum Phase {
    /// Nothing of it was done.
    Fresh,
    /// It was under way: go on from here.
    Resumed(Box<Checkpoint>),
    /// It was done: its end.
    Done(Box<Checkpoint>),
}

/// What [`Run::carry_on`] found.
pub enum Opened {
    Unfinished(Box<Run>),
    Done(Summary),
}

/// Another process works in the folder.
#[derive(Debug, thiserror::Error)]
#[error("{} is in use by another process", .0.display())]
pub struct InUse(pub PathBuf);

/// An open run folder.
pub struct Run {
    folder: PathBuf,
    pub config: Resolved,
    pub data_root: PathBuf,
    pub device: Device,
    pub progress: Progress,
    tables: HashMap<String, Table>,
    /// Open from the first row of this session on, if it is wanted.
    events: Option<EventFile>,
    record: Map<String, Value>,
    /// The checkpoint that `resume` goes on from, until its phase is reached.
    target: Option<Meta>,
    phases: Vec<(String, String)>,
    started: Instant,
    earlier_seconds: f64,
    last_checkpoint: Instant,
    best: f64,
    _lock: File,
}

impl Run {
    /// Makes the folder of a new run. An existing one is an error unless `force`, which starts it anew.
    pub fn create(folder: &Path, config: Resolved, data_root: &Path, progress: Progress, force: bool) -> Result<Run> {
        if folder.exists() {
            if !force {
                bail!("{} exists already; choose another --name, or --force to start it anew", folder.display());
            }
            if !folder.join("config.toml").exists() && fs::read_dir(folder).is_ok_and(|mut d| d.next().is_some()) {
                bail!("{} is not the folder of a run: --force will not empty it", folder.display());
            }
            drop(lock(folder)?);
            fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder).map_err(|e| anyhow!("cannot make the run folder {}: {e}", folder.display()))?;
        let held = lock(folder)?;
        write_atomically(&folder.join("config.toml"), config.to_toml()?.as_bytes())?;
        Run::open(folder, config, data_root, progress, held, None, Map::new())
    }

    /// Opens an existing run to go on from its last checkpoint (or from the start, if it has none).
    pub fn resume(folder: &Path, config: Resolved, data_root: &Path, progress: Progress) -> Result<Run> {
        let held = lock(folder)?;
        Run::unfinished(folder, config, data_root, progress, held)
    }

    /// Opens the folder of this very configuration, whatever was done of it: makes it if it is new, goes on with it if it was
    /// left unfinished. The error of a folder that another process works in is [`InUse`].
    pub fn carry_on(folder: &Path, config: Resolved, data_root: &Path, progress: Progress) -> Result<Opened> {
        fs::create_dir_all(folder).map_err(|e| anyhow!("cannot make the run folder {}: {e}", folder.display()))?;
        let held = lock(folder)?;
        let (file, text) = (folder.join("config.toml"), config.to_toml()?);
        match fs::read_to_string(&file) {
            Ok(known) if known == text => {}
            Ok(_) => bail!("{} holds a run of another configuration", folder.display()),
            Err(_) => write_atomically(&file, text.as_bytes())?,
        }
        if let Some(summary) = status::summary(folder) {
            status::mark_done(folder)?;
            return Ok(Opened::Done(summary));
        }
        Run::unfinished(folder, config, data_root, progress, held).map(|run| Opened::Unfinished(Box::new(run)))
    }

    fn unfinished(folder: &Path, config: Resolved, data_root: &Path, progress: Progress, held: File) -> Result<Run> {
        let record = files::read_json(&folder.join("run.json")).unwrap_or_default();
        let target = Checkpoint::latest(folder)?;
        if target.is_none() {
            table::discard_all(folder)?;
        }
        Run::open(folder, config, data_root, progress, held, target, record)
    }

    fn open(
        folder: &Path,
        config: Resolved,
        data_root: &Path,
        progress: Progress,
        lock: File,
        target: Option<Meta>,
        record: Map<String, Value>,
    ) -> Result<Run> {
        files::remove_leftovers(folder);
        let mut run = Run {
            folder: folder.to_owned(),
            data_root: data_root.to_owned(),
            device: device(&config.header.device)?,
            progress,
            tables: HashMap::new(),
            events: None,
            record,
            earlier_seconds: target.as_ref().map_or(0.0, |t| t.time_s),
            best: target.as_ref().map_or(f64::NEG_INFINITY, |t| t.best.unwrap_or(f64::NEG_INFINITY)),
            phases: target.as_ref().map_or(Vec::new(), |t| t.phases.clone()),
            target,
            started: Instant::now(),
            last_checkpoint: Instant::now(),
            config,
            _lock: lock,
        };
        run.progress.log_to(&folder.join("log.txt"))?;
        let environment = Environment::now(&run.config.header.device);
        run.record.extend(environment.record());
        run.record.insert("method".into(), run.config.method.clone().into());
        run.record.insert("arm".into(), run.config.header.arm.clone().into());
        run.record.insert("preset".into(), run.config.header.preset.clone().into());
        run.record.insert("seed".into(), run.config.header.seed.into());
        run.record.entry("started").or_insert_with(|| environment::now().into());
        run.set_status("running", Map::new())?;
        Ok(run)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the run goes on from a checkpoint whose phase has not begun again yet.
    pub fn resuming(&self) -> bool {
        self.target.is_some()
    }

    pub fn seed(&self) -> u64 {
        self.config.header.seed
    }

    /// Seconds of work in this run, earlier sessions included.
    pub fn seconds(&self) -> f64 {
        self.earlier_seconds + self.started.elapsed().as_secs_f64()
    }

    fn set_status(&mut self, status: &str, more: Map<String, Value>) -> Result<()> {
        self.record.insert("status".into(), status.into());
        self.record.insert("updated".into(), environment::now().into());
        self.record.extend(more);
        write_atomically(&self.folder.join("run.json"), &serde_json::to_vec_pretty(&self.record)?)
    }

    /// Appends a row to `<table>.csv` (columns: step, epoch, time_s, then the row's fields); it is on disk when this returns.
    pub fn row(&mut self, table: &str, at: Stamp, row: &impl Serialize) -> Result<()> {
        let Value::Object(fields) = serde_json::to_value(row)? else { bail!("a row of {table}.csv is not a struct") };
        self.append(table, at, fields)
    }

    /// The same for rows whose columns are only known at run time: the first row names them all, later ones may leave some empty.
    pub fn append(&mut self, table: &str, at: Stamp, fields: Map<String, Value>) -> Result<()> {
        if self.target.is_some() {
            return Ok(()); // happening again before the resumed checkpoint: the row is on disk already
        }
        let mut row = Map::new();
        row.insert("step".into(), at.step.into());
        row.insert("epoch".into(), json!(at.epoch));
        row.insert("time_s".into(), json!((self.seconds() * 1000.0).round() / 1000.0));
        row.extend(fields);
        if !self.tables.contains_key(table) {
            self.tables.insert(table.to_owned(), Table::open(&self.folder, table)?);
        }
        if self.config.header.tensorboard && self.events.is_none() {
            let begun = Utc::now().timestamp_micros() as f64 / 1e6 - self.seconds();
            self.events = Some(EventFile::rebuild(&self.folder, begun)?);
        }
        if let Some(events) = &mut self.events {
            events.append(table, &row)?;
        }
        self.tables.get_mut(table).expect("just opened").append(&row)
    }

    /// Begins the phase `name`. Phases are begun in the same order on every run of a method.
    pub fn phase(&mut self, name: &str) -> Result<Phase> {
        let Some(target) = &self.target else { return Ok(Phase::Fresh) };
        if target.phase == name {
            let target = self.target.take().expect("checked above");
            let checkpoint = Checkpoint::read(&self.folder, &target.folder)?;
            self.reach(&target)?;
            if !target.complete {
                return Ok(Phase::Resumed(Box::new(checkpoint)));
            }
            // The checkpoint that ends a phase lists those before it only: a second resume must find this one too.
            self.phases.push((target.phase, target.folder));
            return Ok(Phase::Done(Box::new(checkpoint)));
        }
        match target.phases.iter().find(|(phase, _)| phase == name) {
            Some((_, folder)) => Ok(Phase::Done(Box::new(Checkpoint::read(&self.folder, folder)?))),
            None => bail!(
                "{}: the last checkpoint is of phase {}, which this run does not have",
                self.folder.display(),
                target.phase
            ),
        }
    }

    /// The resumed checkpoint is reached: cut the tables to what it had seen and write again from here.
    fn reach(&mut self, target: &Meta) -> Result<()> {
        self.progress.say(&format!("resumed at step {} ({})", target.step, target.folder));
        table::cut_all(&self.folder, &target.tables)
    }

    /// Whether a checkpoint is due after step `step`.
    pub fn checkpoint_due(&self, step: u64) -> bool {
        let rule = &self.config.header.checkpoint;
        (rule.every_steps > 0 && step.is_multiple_of(rule.every_steps))
            || self.last_checkpoint.elapsed().as_secs_f64() >= rule.every_seconds
    }

    /// Writes a checkpoint of phase `phase` in its middle, or at its end (`complete`). Weights that hold a NaN are refused,
    /// so that the last checkpoint is always a good one.
    pub fn checkpoint(
        &mut self,
        phase: &str,
        at: Stamp,
        complete: bool,
        weights: &Weights,
        state: &State,
    ) -> Result<()> {
        let broken = weights.store.non_finite();
        if let Some(name) = broken.first() {
            return Err(self.non_finite(&format!("parameter {name} ({} tensors in all)", broken.len()), at.step));
        }
        let meta = Meta {
            format: checkpoint::FORMAT,
            folder: checkpoint::folder_name(&self.folder, at.step, phase),
            phase: phase.to_owned(),
            complete,
            step: at.step,
            epoch: at.epoch,
            time_s: self.seconds(),
            phases: self.phases.clone(),
            tables: self.tables.iter().map(|(name, t)| (name.clone(), t.bytes())).collect(),
            best: self.best.is_finite().then_some(self.best),
        };
        let meta = self.keep_known_tables(meta)?;
        Checkpoint::write(&self.folder, &meta, weights, state)?;
        if complete {
            self.phases.push((phase.to_owned(), meta.folder.clone()));
        }
        self.last_checkpoint = Instant::now();
        checkpoint::retire(&self.folder, &self.phases, self.config.header.checkpoint.keep_last)
    }

    /// Tables of earlier sessions that this one has not written to yet are whole as they stand.
    fn keep_known_tables(&self, mut meta: Meta) -> Result<Meta> {
        for (name, bytes) in table::sizes(&self.folder)? {
            meta.tables.entry(name).or_insert(bytes);
        }
        Ok(meta)
    }

    /// Makes the newest checkpoint the `best` one if `value` (higher is better) is.
    pub fn offer_best(&mut self, value: f64) -> bool {
        let better = value > self.best;
        if better {
            self.best = value;
        }
        better
    }

    pub fn link_best(&self) -> Result<()> {
        checkpoint::link_best(&self.folder)
    }

    /// The error of a step whose numbers are not finite.
    pub fn non_finite(&self, what: &str, step: u64) -> anyhow::Error {
        let good = match Checkpoint::latest(&self.folder) {
            Ok(Some(meta)) => {
                format!("the last good checkpoint is {}", self.folder.join("checkpoints").join(meta.folder).display())
            }
            _ => "there is no checkpoint yet".to_owned(),
        };
        anyhow!("step {step}: {what} is not finite; {good}. A smaller learning rate or train.clip_norm may help")
    }

    /// Ends with an error if a signal asked the run to stop.
    pub fn signalled(&self) -> Option<Interrupted> {
        signal::pending()
    }

    /// Writes a text file (a plot, say) into the run folder.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        write_atomically(&path, bytes)
    }

    /// Closes the run: writes summary.json and the final status.
    pub fn finish(mut self, outcome: Result<Summary>) -> Result<Summary> {
        let mut more = Map::new();
        more.insert("seconds".into(), json!(self.seconds()));
        more.insert("peak_memory_bytes".into(), json!(peak_memory_bytes()));
        more.insert("ended".into(), environment::now().into());
        match &outcome {
            Ok(summary) => {
                write_atomically(&self.folder.join("summary.json"), &serde_json::to_vec_pretty(summary)?)?;
                more.insert("reason".into(), Value::Null);
                self.set_status("done", more)?;
            }
            Err(error) => {
                let status = if error.is::<Interrupted>() { "interrupted" } else { "failed" };
                self.progress.say(&format!("{status}: {error:#}"));
                more.insert("reason".into(), format!("{error:#}").into());
                // The disk may be what failed: the run's own error is the one to report.
                let _ = self.set_status(status, more);
            }
        }
        self.progress.finish();
        outcome
    }
}

/// Whether a process works in the run folder.
pub fn in_use(folder: &Path) -> bool {
    let open = File::options().create(true).truncate(false).read(true).write(true).open(folder.join(".lock"));
    open.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Takes the folder's lock, which the system drops when the process ends, however it ends.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let open = || File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = open().map_err(|e| anyhow!("cannot write in {}: {e}", folder.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(InUse(folder.to_owned()).into()),
        Err(TryLockError::Error(e)) => bail!("cannot lock {}: {e}", folder.display()),
    }
}
