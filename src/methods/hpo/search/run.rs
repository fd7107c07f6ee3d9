//! The run: trials until there are enough.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::config::Config;
use super::objective::Objective;
use super::output;
use super::pictures;
use super::tables::Tables;
use super::worker::{End, Place, Worker};
use crate::config::{Layer, hint};
use crate::run::{Run, Summary, physical_cores};
use crate::search::{Event, Journal, Owner, Spent, Study};

/// Between two looks at the running trials.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let changes = [
        Layer::key_value(&format!("seed={}", run.seed()))?,
        Layer::key_value(&format!("device={}", run.config.header.device))?,
    ];
    let objective = Objective::new(&config.method, &changes)?;
    bind(run, &objective)?;
    let mut journal = Journal::open(&run.folder().join("trials.jsonl"), &config.header(run.seed()))?;
    // The run's lock is ours: whoever ran these trials is gone.
    journal.interrupt_running()?;
    let earlier = journal.study().trials.iter().filter_map(|trial| trial.spent);
    let earlier = earlier.map(|spent| spent.seconds).fold(0.0, f64::max);
    let tables = config.method.tables()?;
    let mut search = Search { config: &config, objective, journal, tables, working: Vec::new(), earlier };
    let outcome = search.work(run);
    search.working.into_iter().for_each(Worker::stop);
    outcome?;
    let study = search.journal.study();
    output::table(run, study)?;
    pictures::draw(run, study)?;
    let mut summary = output::summary(run, study)?;
    let test = &config.method.test;
    if let (false, Some((best, _))) = (test.is_empty(), study.best()) {
        let path = folder(run, best).join("summary.json");
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let value = number(&serde_json::from_slice(&bytes)?, "method.test", test, best)?;
        summary.insert(format!("best.{test}"), value.into());
    }
    Ok(summary)
}

fn folder(run: &Run, trial: usize) -> PathBuf {
    run.folder().join("trials").join(trial.to_string())
}

/// The objective as it was when the study began; another one (its file was changed) is refused.
fn bind(run: &Run, objective: &Objective) -> Result<()> {
    let path = run.folder().join("objective.toml");
    let text = objective.text()?;
    if !path.exists() {
        return run.write("objective.toml", text.as_bytes());
    }
    let begun = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        begun == text,
        "the study was begun with another objective ({}): its trials would not compare; begin a new study",
        path.display()
    );
    Ok(())
}

struct Search<'a> {
    config: &'a Config,
    objective: Objective,
    journal: Journal,
    tables: Tables,
    working: Vec<Worker>,
    /// Seconds of work before this session, up to the last end of a trial.
    earlier: f64,
}

impl Search<'_> {
    fn work(&mut self, run: &mut Run) -> Result<()> {
        let method = &self.config.method;
        run.progress.start("trials", ended(self.journal.study()), method.trials as u64);
        loop {
            if let Some(signal) = run.signalled() {
                return Err(signal.into());
            }
            while self.working.len() < method.jobs && self.start(run)? {}
            if self.working.is_empty() {
                return Ok(());
            }
            match self.next_end(run)? {
                // Told by the terminal at the same time as we: stopped, not failed.
                Some((_, Ended::Itself(End::Failed(_)))) if run.signalled().is_some() => {}
                Some((worker, Ended::Pruned)) => {
                    let trial = worker.trial;
                    worker.stop();
                    run.progress.say(&format!("trial {trial}: pruned"));
                    self.show(run)?;
                }
                Some((worker, Ended::Itself(end))) => self.close(run, &worker, end)?,
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// The next trial that is over or to be stopped, taken from those at work.
    fn next_end(&mut self, run: &Run) -> Result<Option<(Worker, Ended)>> {
        let seconds = self.seconds(run);
        let place = self.place(run);
        for index in 0..self.working.len() {
            let worker = &mut self.working[index];
            // First whether it is over: then all it reported is on disk. A trial that ran past the rung it fails at, even to
            // its end, is judged by what it reported there.
            let end = worker.end(place)?;
            let after = self.journal.study().trials[worker.trial].reports.last().map(|(step, _)| *step);
            let reports = self.tables.reports(&worker.folder, after)?;
            if !reports.is_empty() && self.journal.report(worker.trial, &reports, seconds)? {
                return Ok(Some((self.working.swap_remove(index), Ended::Pruned)));
            }
            if let Some(end) = end {
                return Ok(Some((self.working.swap_remove(index), Ended::Itself(end))));
            }
        }
        Ok(None)
    }

    fn seconds(&self, run: &Run) -> f64 {
        self.earlier + run.seconds()
    }

    fn place<'r>(&self, run: &'r Run) -> Place<'r> {
        Place { data_root: &run.data_root, threads: (physical_cores() / self.config.method.jobs).max(1) }
    }

    /// Starts the next trial; false where there is none left.
    fn start(&mut self, run: &Run) -> Result<bool> {
        let Some(trial) = self.journal.next_trial(&Owner::this(), self.config.method.trials)? else { return Ok(false) };
        let config = match self.objective.trial(&self.journal.study().trials[trial].params) {
            Ok(config) => config,
            Err(error) => {
                let spent = Spent { seconds: self.seconds(run), units: 0.0 };
                self.journal.write(Event::Failed { trial, reason: format!("{error:#}"), spent })?;
                return Ok(true);
            }
        };
        self.working.push(Worker::start(trial, folder(run, trial), &config, self.place(run))?);
        Ok(true)
    }

    fn close(&mut self, run: &mut Run, worker: &Worker, end: End) -> Result<()> {
        let trial = worker.trial;
        let units = self.tables.units(&worker.folder, matches!(end, End::Done(_)))?;
        let spent = Spent { seconds: self.seconds(run), units };
        let event = match end {
            End::Done(summary) => {
                Event::done(trial, number(&summary, "method.metric", &self.config.method.metric, trial)?, spent)
            }
            End::Failed(reason) => Event::Failed { trial, reason, spent },
        };
        match &event {
            Event::Failed { reason, .. } => run.progress.warn(&format!("trial {trial} failed: {reason}")),
            Event::Done { value, .. } => run.progress.say(&format!("trial {trial}: {value:.6}")),
            _ => {}
        }
        self.journal.write(event)?;
        self.show(run)
    }

    /// Brings the tables and the bar up to date.
    fn show(&self, run: &mut Run) -> Result<()> {
        let study = self.journal.study();
        output::table(run, study)?;
        run.progress.step(ended(study));
        if let Some((best, value)) = study.best() {
            run.progress.numbers(&format!("best {value:.6} (trial {best})"));
        }
        Ok(())
    }
}

/// Why a trial is no longer at work.
enum Ended {
    Itself(End),
    /// The journal says so already; its process still runs.
    Pruned,
}

/// A number of a finished trial's summary; a null was not finite.
fn number(summary: &Summary, field: &str, key: &str, trial: usize) -> Result<f64> {
    match summary.get(key) {
        Some(value) if value.is_null() => Ok(f64::NAN),
        Some(value) if value.is_number() => value.as_f64().context("a JSON number"),
        _ => {
            let numbers = || summary.iter().filter(|(_, v)| v.is_number()).map(|(key, _)| key.as_str());
            bail!(
                "{field} = {key:?} is no number in the summary of trial {trial}{}; there are {}",
                hint(key, numbers()),
                numbers().collect::<Vec<_>>().join(", ")
            )
        }
    }
}

/// Trials that are over.
fn ended(study: &Study) -> u64 {
    study.trials.iter().filter(|trial| trial.spent.is_some()).count() as u64
}
