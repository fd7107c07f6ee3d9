//! One trial as a process of its own: `reglab resume` in a folder that holds its config.toml, whether it is new or was left
//! unfinished by a kill.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::config::Resolved;
use crate::run::{Summary, in_use, write_atomically};

/// What the process said that no log holds.
const ERRORS: &str = "errors.txt";

pub struct Worker {
    pub trial: usize,
    folder: PathBuf,
    /// `None`: a process of a study that was killed still works there.
    child: Option<Child>,
}

/// How a trial ended.
pub enum End {
    Done(Summary),
    Failed(String),
}

impl Worker {
    /// Starts the trial, or goes on with it, on `threads` threads.
    pub fn start(trial: usize, folder: PathBuf, config: &Resolved, data_root: &Path, threads: usize) -> Result<Worker> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if in_use(&folder) || folder.join("summary.json").exists() {
            return Ok(Worker { trial, folder, child: None });
        }
        if !folder.join("config.toml").exists() {
            write_atomically(&folder.join("config.toml"), config.to_toml()?.as_bytes())?;
        }
        let errors =
            File::create(folder.join(ERRORS)).with_context(|| format!("cannot write in {}", folder.display()))?;
        let mut command = Command::new(std::env::current_exe().context("cannot find the reglab program itself")?);
        command.arg("resume").arg(&folder).arg("--quiet").arg("--data-root").arg(data_root);
        command.env("OMP_NUM_THREADS", threads.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().with_context(|| format!("cannot start trial {trial}"))?;
        Ok(Worker { trial, folder, child: Some(child) })
    }

    /// `None` while it runs.
    pub fn end(&mut self) -> Result<Option<End>> {
        let status = match &mut self.child {
            Some(child) => match child.try_wait().context("cannot wait for a trial")? {
                Some(status) => Some(status),
                None => return Ok(None),
            },
            None => None,
        };
        let summary = self.folder.join("summary.json");
        if let Ok(bytes) = fs::read(&summary) {
            return Ok(Some(End::Done(serde_json::from_slice(&bytes).with_context(|| summary.display().to_string())?)));
        }
        if in_use(&self.folder) {
            self.child = None;
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
        if let Some(child) = &mut self.child {
            // SAFETY: a plain system call on a process of ours that has not been waited for.
            unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
            let _ = child.wait();
        }
    }
}
