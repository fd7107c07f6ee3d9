//! What a pool shows: a bar for each worker and one for all on a terminal, a line for each finished run otherwise.

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::run::Verbosity;

pub struct Bars {
    verbosity: Verbosity,
    terminal: bool,
    all: MultiProgress,
    workers: Vec<ProgressBar>,
    total: ProgressBar,
    started: Instant,
}

impl Bars {
    pub fn new(verbosity: Verbosity, workers: usize, runs: usize) -> Bars {
        let terminal = verbosity > Verbosity::Quiet && std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let bar = |template: &str, length: usize| {
            let style = ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ");
            all.add(ProgressBar::new(length as u64).with_style(style))
        };
        let workers = (0..workers).map(|_| bar("{prefix:>9} {bar:24} {pos}/{len} {msg}", 0)).collect();
        let total = bar("     runs {bar:24} {pos}/{len} {msg}", runs);
        total.tick();
        Bars { verbosity, terminal, workers, total, started: Instant::now(), all }
    }

    pub fn begin(&self, worker: usize, name: &str) {
        self.workers[worker].set_message(name.to_owned());
        self.workers[worker].set_prefix("start");
        self.workers[worker].set_position(0);
    }

    pub fn at(&self, worker: usize, phase: &str, done: u64, steps: u64) {
        let bar = &self.workers[worker];
        bar.set_prefix(phase.to_owned());
        bar.set_length(steps);
        bar.set_position(done);
        self.total.set_message(self.left());
    }

    pub fn idle(&self, worker: usize) {
        self.workers[worker].set_prefix("idle");
        self.workers[worker].set_message("");
    }

    /// A run is over, well or badly.
    pub fn over(&self, name: &str, how: &str) {
        self.total.inc(1);
        let left = self.left();
        self.total.set_message(left.clone());
        if !self.terminal && self.verbosity > Verbosity::Quiet {
            eprintln!("{} of {} runs: {name} {how}{left}", self.total.position(), self.total.length().unwrap_or(0));
        }
    }

    /// Something the user should read whatever happens next.
    pub fn say(&self, text: &str) {
        self.all.suspend(|| eprintln!("{text}"));
    }

    /// Time left at the pace so far.
    fn left(&self) -> String {
        let (done, all) = (self.total.position(), self.total.length().unwrap_or(0));
        if done == 0 || done >= all {
            return String::new();
        }
        let each = self.started.elapsed().as_secs_f64() / done as f64;
        format!(", eta {}", HumanDuration(Duration::from_secs_f64(each * (all - done) as f64)))
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        let _ = self.all.clear();
    }
}
