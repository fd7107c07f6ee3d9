//! One progress bar on a terminal, plain lines otherwise; everything said also goes to the run's log.txt.

use anyhow::{Result, anyhow};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    Quiet,
    Normal,
    Verbose,
}

pub struct Progress {
    verbosity: Verbosity,
    bar: Option<ProgressBar>,
    log: Option<File>,
    last_line: Option<Instant>,
    listener: Option<Listener>,
}

/// Is told the phase, the steps done and the steps in all.
pub type Listener = Box<dyn Fn(&str, u64, u64)>;

/// Between two plain progress lines, when nobody watches a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    pub fn new(verbosity: Verbosity) -> Progress {
        Progress { verbosity, bar: None, log: None, last_line: None, listener: None }
    }

    /// Shows nothing itself: whoever watches this process does.
    pub fn told_to(listener: Listener) -> Progress {
        Progress { listener: Some(listener), ..Progress::new(Verbosity::Quiet) }
    }

    pub fn log_to(&mut self, path: &Path) -> Result<()> {
        let open = File::options().create(true).append(true).open(path);
        self.log = Some(open.map_err(|e| anyhow!("cannot write {}: {e}", path.display()))?);
        Ok(())
    }

    /// Starts (or restarts) the bar of a phase of `steps` steps, `done` of them over already.
    pub fn start(&mut self, phase: &str, done: u64, steps: u64) {
        self.finish();
        let shown = self.verbosity > Verbosity::Quiet && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        if shown {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{prefix:>9} {bar:24} {pos}/{len} {per_sec} {msg} eta {eta}");
            bar.set_style(style.expect("a valid template").progress_chars("=> "));
        }
        bar.set_prefix(phase.to_owned());
        bar.set_position(done);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    pub fn step(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            if let Some(tell) = &self.listener {
                tell(&bar.prefix(), done, bar.length().unwrap_or(0));
            }
        }
    }

    /// The current numbers, after their row is on disk.
    pub fn numbers(&mut self, text: &str) {
        let line = match &self.bar {
            Some(bar) => {
                bar.set_message(text.to_owned());
                format!("{} {}/{}  {text}", bar.prefix(), bar.position(), bar.length().unwrap_or(0))
            }
            None => text.to_owned(),
        };
        self.log_line(&line);
        let hidden = self.bar.as_ref().is_none_or(ProgressBar::is_hidden);
        let due = self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        if hidden && (self.verbosity == Verbosity::Verbose || (self.verbosity == Verbosity::Normal && due)) {
            eprintln!("{line}");
            self.last_line = Some(Instant::now());
        }
    }

    /// Something the user should read whatever happens next.
    pub fn say(&mut self, text: &str) {
        self.log_line(text);
        if self.verbosity > Verbosity::Quiet {
            match &self.bar {
                Some(bar) => bar.suspend(|| eprintln!("{text}")),
                None => eprintln!("{text}"),
            }
        }
    }

    pub fn warn(&mut self, text: &str) {
        self.say(&format!("warning: {text}"));
    }

    fn log_line(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            // A full disk must not end the run here: the tables and checkpoints say so themselves.
            let _ = writeln!(log, "{} {line}", super::environment::now());
        }
    }

    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
