//! What a run folder says of itself, whether its process still lives or not.

use anyhow::Result;
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

use super::{Summary, environment, files, in_use, write_atomically};
use crate::config::Resolved;

#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Nothing was done.
    Missing,
    /// A process works in it.
    Running,
    /// Stopped, or its process is gone: can be resumed.
    Interrupted,
    /// Ended with an error: its reason.
    Failed(String),
    Done,
}

impl Status {
    pub fn of(folder: &Path) -> Status {
        if folder.join("summary.json").exists() {
            return Status::Done;
        }
        if !folder.join("config.toml").exists() {
            return Status::Missing;
        }
        if in_use(folder) {
            return Status::Running;
        }
        let record = files::read_json(&folder.join("run.json")).unwrap_or_default();
        let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("status") == "failed" { Status::Failed(text("reason").to_owned()) } else { Status::Interrupted }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Status::Missing => "missing",
            Status::Running => "running",
            Status::Interrupted => "interrupted",
            Status::Failed(_) => "failed",
            Status::Done => "done",
        }
    }
}

/// The summary of a run that is done.
pub fn summary(folder: &Path) -> Option<Summary> {
    serde_json::from_slice(&fs::read(folder.join("summary.json")).ok()?).ok()
}

/// Sets right the record of a run whose process was killed between its summary and its record.
pub fn mark_done(folder: &Path) -> Result<()> {
    let path = folder.join("run.json");
    let mut record = files::read_json(&path).unwrap_or_default();
    if record.get("status").and_then(Value::as_str) == Some("done") {
        return Ok(());
    }
    record.insert("status".into(), "done".into());
    record.insert("reason".into(), Value::Null);
    write_atomically(&path, &serde_json::to_vec_pretty(&record)?)
}

/// Records why a process that can no longer say so itself ended.
pub fn record_death(folder: &Path, config: &Resolved, reason: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join("run.json");
    let mut record = files::read_json(&path).unwrap_or_else(|_| {
        let known: [(&str, Value); 4] = [
            ("method", config.method.clone().into()),
            ("arm", config.header.arm.clone().into()),
            ("preset", config.header.preset.clone().into()),
            ("seed", config.header.seed.into()),
        ];
        known.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<Map<_, _>>()
    });
    record.insert("status".into(), "failed".into());
    record.insert("reason".into(), reason.into());
    record.insert("updated".into(), environment::now().into());
    write_atomically(&path, &serde_json::to_vec_pretty(&record)?)
}
