//! What the pool and a worker process say to each other: a job a line one way, reports a line the other way.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::point::read_config;
use crate::config::{Layer, Resolved};
use crate::methods;
use crate::run::{self, InUse, Interrupted, Opened, Progress, Run, Summary};

/// One run to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub folder: PathBuf,
    /// The whole configuration, as in config.toml.
    pub config: String,
    pub begin: Begin,
}

/// What to do with what is in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Begin {
    /// Nothing may be there.
    New,
    /// Start anew.
    Anew,
    /// Go on with it.
    GoOn,
}

/// How a job ended, by the worker's own word.
#[derive(Debug, Serialize, Deserialize)]
pub enum End {
    Done(Summary),
    Failed(String),
    Interrupted(String),
    /// Another process works in the folder.
    Elsewhere,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    At { phase: String, done: u64, steps: u64 },
    Ended(End),
}

/// Between two reports of progress.
const TELL_EVERY: Duration = Duration::from_millis(200);

impl Job {
    /// The run's name: the last part of its folder.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn config(&self) -> Result<(&'static methods::Method, Resolved)> {
        read_config(Layer::text(&self.name(), &self.config)?)
    }

    fn execute(&self, data_root: &Path) -> Result<Summary> {
        let (method, config) = self.config()?;
        run::device(&config.header.device)?;
        run::set_threads(config.header.threads);
        let told = Cell::new(None::<Instant>);
        let progress = Progress::told_to(Box::new(move |phase, done, steps| {
            if told.get().is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                told.set(Some(Instant::now()));
                tell(&Report::At { phase: phase.to_owned(), done, steps });
            }
        }));
        let open = match self.begin {
            Begin::GoOn => match Run::carry_on(&self.folder, config, data_root, progress)? {
                Opened::Unfinished(run) => *run,
                Opened::Done(summary) => return Ok(summary),
            },
            how => Run::create(&self.folder, config, data_root, progress, how == Begin::Anew)?,
        };
        methods::drive(method, open)
    }
}

/// A worker's life: jobs from standard input, until that ends or a signal asks to stop; the exit code.
pub fn serve(data_root: &Path) -> Result<i32> {
    run::install_signals();
    // The pool may be gone when the worker speaks: its run ends with a checkpoint all the same.
    // SAFETY: a plain system call.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    for line in stdin().lock().lines() {
        if let Some(signal) = run::pending_signal() {
            return Ok(signal.exit_code());
        }
        let job: Job = serde_json::from_str(&line?)?;
        let end = match job.execute(data_root) {
            Ok(summary) => End::Done(summary),
            Err(error) if error.is::<InUse>() => End::Elsewhere,
            Err(error) if error.is::<Interrupted>() => End::Interrupted(error.to_string()),
            Err(error) => End::Failed(format!("{error:#}")),
        };
        tell(&Report::Ended(end));
    }
    Ok(run::pending_signal().map_or(0, Interrupted::exit_code))
}

fn tell(report: &Report) {
    let line = serde_json::to_string(report).expect("a report is plain data");
    let mut out = stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
