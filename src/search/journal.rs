//! The study on disk: one JSON object a line, written with one appending write and fsync under an advisory lock.
//!
//! Never a database: many workers on one SQLite file is the classic complaint. A line torn by a kill is cut off by the next
//! writer, who finds it under the lock and so knows that its author is gone.

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Params;
use super::study::{Header, Owner, Spent, State, Study};

/// What happened to a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Created {
        trial: usize,
        params: Params,
        owner: Owner,
    },
    /// An intermediate value.
    Report {
        trial: usize,
        step: u64,
        value: f64,
    },
    Done {
        trial: usize,
        value: f64,
        spent: Spent,
    },
    Pruned {
        trial: usize,
        spent: Spent,
    },
    Failed {
        trial: usize,
        reason: String,
        spent: Spent,
    },
    /// Its owner is dead.
    Interrupted {
        trial: usize,
    },
    /// Taken up again with the same parameters and seed.
    Restarted {
        trial: usize,
        owner: Owner,
    },
}

impl Event {
    pub fn trial(&self) -> usize {
        match *self {
            Event::Created { trial, .. }
            | Event::Report { trial, .. }
            | Event::Done { trial, .. }
            | Event::Pruned { trial, .. }
            | Event::Failed { trial, .. }
            | Event::Interrupted { trial }
            | Event::Restarted { trial, .. } => trial,
        }
    }

    /// JSON has no NaN: a value that is not finite is a failure with its reason.
    pub fn done(trial: usize, value: f64, spent: Spent) -> Event {
        if value.is_finite() {
            Event::Done { trial, value, spent }
        } else {
            Event::Failed { trial, reason: format!("its value is {value}"), spent }
        }
    }
}

/// An intermediate value of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    pub step: u64,
    pub value: f64,
    /// Units of work up to here.
    pub units: f64,
}

/// One line of the journal.
#[derive(Serialize, Deserialize)]
struct Line {
    /// Seconds since 1970.
    time: f64,
    #[serde(flatten)]
    event: Event,
}

/// An open journal and the study its events so far describe.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of the file taken in.
    read: u64,
    study: Study,
}

impl Journal {
    /// Begins the study at `path`, or goes on with the one there; its header must be the same.
    pub fn open(path: &Path, header: &Header) -> Result<Journal> {
        header.pruner.check()?;
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = file.with_context(|| format!("cannot open the journal {}", path.display()))?;
        let mut journal = Journal { path: path.to_owned(), file, read: 0, study: Study::new(header.clone()) };
        journal.locked(|journal| {
            if journal.read == 0 {
                let first = serde_json::to_string(header)? + "\n";
                journal.append(first.as_bytes())?;
            }
            Ok(())
        })?;
        Ok(journal)
    }

    /// The study as of the last refresh or transaction.
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// Takes in what other workers wrote.
    pub fn refresh(&mut self) -> Result<()> {
        self.locked(|_| Ok(()))
    }

    /// Under the lock: takes in what others wrote, asks `decide` for events and writes them. So two workers never create the
    /// same trial, and what one decides rests on all that was decided before.
    pub fn transact<T>(&mut self, decide: impl FnOnce(&Study) -> Result<(Vec<Event>, T)>) -> Result<T> {
        self.locked(|journal| {
            let (events, result) = decide(&journal.study)?;
            events.iter().try_for_each(|event| journal.study.apply(event))?;
            journal.append_events(events)?;
            Ok(result)
        })
    }

    /// Writes one event.
    pub fn write(&mut self, event: Event) -> Result<()> {
        self.transact(|_| Ok((vec![event], ())))
    }

    /// Writes a trial's reports and asks the pruner after each; says whether it stopped the trial, which then is written as
    /// pruned, together with the report that decided. So neither when the reports were read nor a kill changes the decision:
    /// those past it are dropped.
    pub fn report(&mut self, trial: usize, reports: &[Report], seconds: f64) -> Result<bool> {
        self.locked(|journal| {
            let mut events = Vec::new();
            let mut stopped = false;
            for &Report { step, value, units } in reports {
                let event = Event::Report { trial, step, value };
                journal.study.apply(&event)?;
                events.push(event);
                stopped = journal.study.header.pruner.stops(&journal.study, trial);
                if stopped {
                    let event = Event::Pruned { trial, spent: Spent { seconds, units } };
                    journal.study.apply(&event)?;
                    events.push(event);
                    break;
                }
            }
            journal.append_events(events)?;
            Ok(stopped)
        })
    }

    /// The next trial for `owner`: one that was interrupted, else a new one while there are fewer than `trials`. `None` when the
    /// study is done.
    pub fn next_trial(&mut self, owner: &Owner, trials: usize) -> Result<Option<usize>> {
        self.transact(|study| {
            let owner = owner.clone();
            if let Some(trial) = study.trials.iter().position(|trial| trial.state == State::Interrupted) {
                return Ok((vec![Event::Restarted { trial, owner }], Some(trial)));
            }
            let trial = study.trials.len();
            let params = if trial < trials { study.header.sampler.next(study)? } else { None };
            Ok(match params {
                Some(params) => (vec![Event::Created { trial, params, owner }], Some(trial)),
                None => (Vec::new(), None),
            })
        })
    }

    /// Marks all running trials as interrupted: for the one who holds the study's lock, and so knows that no owner is left
    /// (process ids return after a restart of the machine or container).
    pub fn interrupt_running(&mut self) -> Result<()> {
        self.transact(|study| {
            let running = |(trial, t): (usize, &super::Trial)| {
                matches!(t.state, State::Running(_)).then_some(Event::Interrupted { trial })
            };
            Ok((study.trials.iter().enumerate().filter_map(running).collect(), ()))
        })
    }

    fn locked<T>(&mut self, work: impl FnOnce(&mut Journal) -> Result<T>) -> Result<T> {
        self.file.lock().with_context(|| format!("cannot lock {}", self.path.display()))?;
        let result = self.catch_up().and_then(|()| work(self));
        self.file.unlock().with_context(|| format!("cannot unlock {}", self.path.display()))?;
        result
    }

    /// Reads on from where it stopped; cuts off a torn last line.
    fn catch_up(&mut self) -> Result<()> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(self.read))?;
        self.file.read_to_end(&mut text).with_context(|| format!("cannot read {}", self.path.display()))?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        if whole < text.len() {
            self.file.set_len(self.read + whole as u64)?;
        }
        for line in text[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let at = self.read;
            self.take_in(line).with_context(|| format!("{}, near byte {at}", self.path.display()))?;
            self.read += line.len() as u64 + 1;
        }
        Ok(())
    }

    fn take_in(&mut self, line: &[u8]) -> Result<()> {
        if self.read == 0 {
            let header: Header =
                serde_json::from_slice(line).map_err(|e| anyhow!("the first line is no study: {e}"))?;
            return header.check(&self.study.header);
        }
        let line: Line = serde_json::from_slice(line).map_err(|e| anyhow!("a line is no event: {e}"))?;
        self.study.apply(&line.event)
    }

    /// All in one write.
    fn append_events(&mut self, events: Vec<Event>) -> Result<()> {
        let time = now();
        let mut lines = String::new();
        for event in events {
            lines += &serde_json::to_string(&Line { time, event })?;
            lines.push('\n');
        }
        self.append(lines.as_bytes())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.file.write(bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        ensure!(written == bytes.len(), "cannot write {}: is the disk full?", self.path.display());
        self.file.sync_data()?;
        self.read += written as u64;
        Ok(())
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl Owner {
    /// This process.
    pub fn this() -> Owner {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| "unknown".into(), |s| s.trim().to_owned());
        Owner { host, pid: std::process::id() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, Pruner, Sampler, Space};
    use super::*;

    fn header(sampler: Sampler) -> Header {
        let space: Space = toml::from_str(
            "[lr]\nkind='float'\nlow=1e-4\nhigh=1.0\nlog=true\n[n]\nkind='int'\nlow=1\nhigh=8\n[act]\nkind='categorical'\nchoices=['relu','gelu']",
        )
        .unwrap();
        Header { metric: "eval.loss".into(), mode: Mode::Min, seed: 7, sampler, pruner: Pruner::None, space }
    }

    fn objective(params: &Params) -> f64 {
        (params["lr"].as_f64().unwrap().ln() + 4.0).powi(2) + (params["n"].as_i64().unwrap() as f64 - 3.0).abs()
    }

    /// Runs trials to the end, at most `at_once`, under the given process id.
    fn work(journal: &mut Journal, pid: u32, trials: usize, at_once: usize) {
        let owner = Owner { pid, ..Owner::this() };
        for _ in 0..at_once {
            let Some(trial) = journal.next_trial(&owner, trials).unwrap() else { return };
            let value = objective(&journal.study().trials[trial].params);
            journal.write(Event::done(trial, value, Spent::default())).unwrap();
        }
    }

    fn table(journal: &Journal) -> Vec<(Params, State)> {
        journal.study().trials.iter().map(|t| (t.params.clone(), t.state.clone())).collect()
    }

    #[test]
    fn a_study_cut_anywhere_goes_on_to_the_same_table() {
        let folder = tempfile::tempdir().unwrap();
        for sampler in [Sampler::Random, Sampler::Tpe] {
            let path = |name: &str| folder.path().join(format!("{name}-{sampler:?}.jsonl"));
            let mut whole = Journal::open(&path("whole"), &header(sampler)).unwrap();
            work(&mut whole, 1, 20, 100);
            let mut first = Journal::open(&path("cut"), &header(sampler)).unwrap();
            work(&mut first, 1, 20, 12);
            // Killed with a trial under way, in the middle of a write.
            let running = first.next_trial(&Owner::this(), 20).unwrap().unwrap();
            drop(first);
            let mut torn = OpenOptions::new().append(true).open(path("cut")).unwrap();
            torn.write_all(b"{\"time\":1.0,\"event\":\"don").unwrap();
            let mut second = Journal::open(&path("cut"), &header(sampler)).unwrap();
            second.interrupt_running().unwrap();
            assert_eq!(second.study().trials[running].state, State::Interrupted);
            work(&mut second, 1, 20, 100);
            assert_eq!(table(&whole), table(&second));
            let mut again = Journal::open(&path("cut"), &header(sampler)).unwrap();
            again.refresh().unwrap();
            assert_eq!(table(&again), table(&second));
        }
    }

    #[test]
    fn three_workers_make_the_single_workers_table() {
        let folder = tempfile::tempdir().unwrap();
        let mut alone = Journal::open(&folder.path().join("alone.jsonl"), &header(Sampler::Random)).unwrap();
        work(&mut alone, 1, 30, 100);
        let path = folder.path().join("three.jsonl");
        std::thread::scope(|scope| {
            for pid in 1..=3 {
                let path = &path;
                scope.spawn(move || work(&mut Journal::open(path, &header(Sampler::Random)).unwrap(), pid, 30, 100));
            }
        });
        let three = Journal::open(&path, &header(Sampler::Random)).unwrap();
        assert_eq!(table(&alone), table(&three));
    }

    #[test]
    fn another_space_or_seed_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trials.jsonl");
        Journal::open(&path, &header(Sampler::Random)).unwrap();
        let refused = |header: Header| format!("{:#}", Journal::open(&path, &header).err().unwrap());
        let other =
            Space::new(header(Sampler::Random).space.iter().take(2).map(|(k, d)| (k.to_owned(), d.clone())).collect());
        assert!(refused(Header { space: other.unwrap(), ..header(Sampler::Random) }).contains("[space.act]"));
        assert!(refused(Header { seed: 8, ..header(Sampler::Random) }).contains("seed = 7, not 8"));
    }

    #[test]
    fn when_reports_are_read_does_not_change_what_is_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let pruner = Pruner::Asha { min_steps: 1, max_steps: 9, eta: 3 };
        let study = |at_once: usize| {
            let path = folder.path().join(format!("{at_once}.jsonl"));
            let mut journal = Journal::open(&path, &Header { pruner, ..header(Sampler::Random) }).unwrap();
            while let Some(trial) = journal.next_trial(&Owner::this(), 12).unwrap() {
                let loss = objective(&journal.study().trials[trial].params);
                let report = |step: u64| Report { step, value: loss + 1.0 / step as f64, units: step as f64 };
                let reports: Vec<Report> = (1..=9).map(report).collect();
                // The trial runs on while its reports lie unread.
                let pruned = reports.chunks(at_once).any(|some| journal.report(trial, some, 0.0).unwrap());
                if !pruned {
                    journal.write(Event::done(trial, loss, Spent { seconds: 0.0, units: 9.0 })).unwrap();
                }
            }
            journal.study().trials.clone()
        };
        let each = study(1);
        assert!(each.iter().any(|trial| trial.state == State::Pruned && trial.reports.len() == 1));
        assert_eq!(each, study(4));
        assert_eq!(each, study(9));
        assert_eq!(
            Journal::open(&folder.path().join("9.jsonl"), &Header { pruner, ..header(Sampler::Random) })
                .unwrap()
                .study()
                .trials,
            each
        );
    }

    /// By hand: `cargo test --lib journal_speed -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn journal_speed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trials.jsonl");
        let mut journal = Journal::open(&path, &header(Sampler::Tpe)).unwrap();
        let mut proposing = std::time::Duration::ZERO;
        for trial in 0..1000 {
            let begin = std::time::Instant::now();
            let params = Sampler::Tpe.next(journal.study()).unwrap().unwrap();
            proposing = begin.elapsed();
            let mut events = vec![Event::Created { trial, params, owner: Owner::this() }];
            events.extend((1..=98).map(|step| Event::Report { trial, step, value: 1.0 / step as f64 }));
            let value = objective(&journal.study().header.space.params(&[0.1, 2.0, 0.0])) + trial as f64;
            events.push(Event::done(trial, value, Spent::default()));
            journal.transact(|_| Ok((events, ()))).unwrap();
        }
        let begin = std::time::Instant::now();
        let again = Journal::open(&path, &header(Sampler::Tpe)).unwrap();
        println!("replay of 100000 events: {:?}; tpe's trial 1000: {proposing:?}", begin.elapsed());
        assert_eq!(again.study(), journal.study());
    }

    #[test]
    fn a_value_that_is_not_finite_is_a_failure() {
        let spent = Spent { seconds: 1.0, units: 2.0 };
        let failed = Event::Failed { trial: 3, reason: "its value is NaN".into(), spent };
        assert_eq!(Event::done(3, f64::NAN, spent), failed);
    }

    #[test]
    fn the_points_of_a_seed_are_these() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&folder.path().join("trials.jsonl"), &header(Sampler::Random)).unwrap();
        work(&mut journal, 1, 3, 100);
        let points: Vec<String> =
            journal.study().trials.iter().map(|t| serde_json::to_string(&t.params).unwrap()).collect();
        let expected = [
            r#"{"lr":0.18360187827683908,"n":2,"act":"relu"}"#,
            r#"{"lr":0.0003649222473536014,"n":2,"act":"gelu"}"#,
            r#"{"lr":0.34263313444796434,"n":7,"act":"gelu"}"#,
        ];
        assert_eq!(points, expected);
    }

    #[test]
    fn log_uniform_values_have_the_right_mean() {
        let mut study = Study::new(header(Sampler::Random));
        let mut sum = 0.0;
        let n = 2000;
        for trial in 0..n {
            let params = Sampler::Random.next(&study).unwrap().unwrap();
            sum += params["lr"].as_f64().unwrap().ln();
            study.apply(&Event::Created { trial, params, owner: Owner::this() }).unwrap();
        }
        let (low, high) = (1e-4f64.ln(), 0.0);
        let error = (high - low) / (12.0 * n as f64).sqrt();
        assert!((sum / n as f64 - (low + high) / 2.0).abs() < 3.0 * error);
    }
}
