//! The run: trials until there are enough.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::time::Duration;

use super::config::Config;
use super::objective::Objective;
use super::output;
use super::worker::{End, Worker};
use crate::config::{Layer, hint};
use crate::run::{Run, Summary, physical_cores};
use crate::search::{Event, Journal, Owner, Study};

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
    let mut search = Search { config: &config, objective, journal, working: Vec::new() };
    let outcome = search.work(run);
    search.working.into_iter().for_each(Worker::stop);
    outcome?;
    let study = search.journal.study();
    output::table(run, study)?;
    output::pictures(run, study)?;
    output::summary(run, study)
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
    working: Vec<Worker>,
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
            let mut over = None;
            for (index, worker) in self.working.iter_mut().enumerate() {
                if let Some(end) = worker.end()? {
                    over = Some((index, end));
                    break;
                }
            }
            match over {
                Some((index, end)) => {
                    // Told by the terminal at the same time as we: stopped, not failed.
                    if run.signalled().is_some() && matches!(end, End::Failed(_)) {
                        continue;
                    }
                    let trial = self.working.swap_remove(index).trial;
                    self.close(run, trial, end)?;
                }
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Starts the next trial; false where there is none left.
    fn start(&mut self, run: &Run) -> Result<bool> {
        let Some(trial) = self.journal.next_trial(&Owner::this(), self.config.method.trials)? else { return Ok(false) };
        let config = match self.objective.trial(&self.journal.study().trials[trial].params) {
            Ok(config) => config,
            Err(error) => {
                self.journal.write(Event::Failed { trial, reason: format!("{error:#}") })?;
                return Ok(true);
            }
        };
        let threads = (physical_cores() / self.config.method.jobs).max(1);
        let folder = run.folder().join("trials").join(trial.to_string());
        self.working.push(Worker::start(trial, folder, &config, &run.data_root, threads)?);
        Ok(true)
    }

    fn close(&mut self, run: &mut Run, trial: usize, end: End) -> Result<()> {
        let event = match end {
            End::Done(summary) => Event::done(trial, self.value(trial, &summary)?),
            End::Failed(reason) => Event::Failed { trial, reason },
        };
        match &event {
            Event::Failed { reason, .. } => run.progress.warn(&format!("trial {trial} failed: {reason}")),
            Event::Done { value, .. } => run.progress.say(&format!("trial {trial}: {value:.6}")),
            _ => {}
        }
        self.journal.write(event)?;
        let study = self.journal.study();
        output::table(run, study)?;
        run.progress.step(ended(study));
        if let Some((best, value)) = study.best() {
            run.progress.numbers(&format!("best {value:.6} (trial {best})"));
        }
        Ok(())
    }

    /// The metric of a finished trial; a null was not finite.
    fn value(&self, trial: usize, summary: &Summary) -> Result<f64> {
        let metric = &self.config.method.metric;
        match summary.get(metric) {
            Some(value) if value.is_null() => Ok(f64::NAN),
            Some(value) if value.is_number() => value.as_f64().context("a JSON number"),
            _ => {
                let numbers = || summary.iter().filter(|(_, v)| v.is_number()).map(|(key, _)| key.as_str());
                bail!(
                    "method.metric = {metric:?} is no number in the summary of trial {trial}{}; there are {}",
                    hint(metric, numbers()),
                    numbers().collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}

/// Trials that are over.
fn ended(study: &Study) -> u64 {
    use crate::search::State::{Interrupted, Running};
    study.trials.iter().filter(|t| !matches!(t.state, Running(_) | Interrupted)).count() as u64
}
