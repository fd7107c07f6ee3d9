//! One trial as a process of its own: `reglab resume` in a folder that holds its config.toml, whether it is new or was left
//! unfinished by a kill.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::config::Resolved;
use crate::run::{Summary, in_use, write_atomically};

/// What the process said that no log holds.
const ERRORS: &str = "errors.txt";

/// Where a trial's process runs.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub data_root: &'a Path,
    pub threads: usize,
}

pub struct Worker {
    pub trial: usize,
    pub folder: PathBuf,
    /// `None`: a process of a study that was killed still works there.
    child: Option<Child>,
}

/// How a trial ended.
pub enum End {
    Done(Summary),
    Failed(String),
}

impl Worker {
    /// Starts the trial, or goes on with it.
    pub fn start(trial: usize, folder: PathBuf, config: &Resolved, place: Place) -> Result<Worker> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut worker = Worker { trial, folder, child: None };
        if in_use(&worker.folder) || worker.folder.join("summary.json").exists() {
            return Ok(worker);
        }
        if !worker.folder.join("config.toml").exists() {
            write_atomically(&worker.folder.join("config.toml"), config.to_toml()?.as_bytes())?;
        }
        worker.spawn(place)?;
        Ok(worker)
    }

    fn spawn(&mut self, Place { data_root, threads }: Place) -> Result<()> {
        let folder = &self.folder;
        let errors =
            File::create(folder.join(ERRORS)).with_context(|| format!("cannot write in {}", folder.display()))?;
        let mut command = Command::new(std::env::current_exe().context("cannot find the reglab program itself")?);
        command.arg("resume").arg(folder).arg("--quiet").arg("--data-root").arg(data_root);
        command.env("OMP_NUM_THREADS", threads.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        self.child = Some(command.spawn().with_context(|| format!("cannot start trial {}", self.trial))?);
        Ok(())
    }

    /// `None` while it runs.
    pub fn end(&mut self, place: Place) -> Result<Option<End>> {
        let status = match &mut self.child {
            Some(child) => match child.try_wait().context("cannot wait for a trial")? {
                Some(status) => Some(status),
                None => return Ok(None),
            },
            None if in_use(&self.folder) => return Ok(None),
            None => None,
        };
        let summary = self.folder.join("summary.json");
        if let Ok(bytes) = fs::read(&summary) {
            return Ok(Some(End::Done(serde_json::from_slice(&bytes).with_context(|| summary.display().to_string())?)));
        }
        if in_use(&self.folder) {
            // It found another process at work there, whose end is the trial's.
            self.child = None;
            return Ok(None);
        }
        if status.is_none() {
            // The killed study's process has ended too, unfinished: go on from its last checkpoint.
            self.spawn(place)?;
            return Ok(None);
        }
        Ok(Some(End::Failed(self.reason(status))))
    }

    /// The last thing it said, else how it ended.
    fn reason(&self, status: Option<ExitStatus>) -> String {
        let errors = fs::read_to_string(self.folder.join(ERRORS)).unwrap_or_default();
        let last = errors.lines().rfind(|line| !line.trim().is_empty());
        let ended = || status.map_or("its process ended".to_owned(), |status| format!("its process ended: {status}"));
        last.map_or_else(ended, |line| line.trim_start_matches("error: ").to_owned())
    }

    /// Asks it to write a checkpoint and end, and waits for that.
    pub fn stop(mut self) {
        let Some(child) = &mut self.child else { return self.stop_adopted() };
        terminate(child.id());
        let _ = child.wait();
    }

    /// The process that holds the folder's lock wrote its number into run.json.
    fn stop_adopted(&self) {
        let record = fs::read(self.folder.join("run.json")).unwrap_or_default();
        let record: Value = serde_json::from_slice(&record).unwrap_or_default();
        let Some(pid) = record["pid"].as_u64().filter(|_| in_use(&self.folder)) else { return };
        terminate(pid as u32);
        while in_use(&self.folder) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn terminate(pid: u32) {
    // SAFETY: a plain system call; the process is ours and has not been waited for, or holds the lock of a trial's folder.
    unsafe { libc::kill(pid as i32, libc::SIGTERM) };
}
