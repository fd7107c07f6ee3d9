//! Reads the run folders below a results tree.

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// What a run folder says about itself.
pub struct Record {
    pub folder: PathBuf,
    pub method: String,
    pub preset: String,
    pub arm: String,
    pub seed: i64,
    pub status: String,
    pub record: Map<String, Value>,
    /// Empty while the run is not done.
    pub summary: Map<String, Value>,
}

impl Record {
    pub fn read(folder: &Path) -> Option<Record> {
        let json = |name: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&fs::read(folder.join(name)).ok()?).ok()
        };
        let record = json("run.json")?;
        let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Record {
            method: text("method"),
            preset: text("preset"),
            arm: text("arm"),
            seed: record.get("seed").and_then(Value::as_i64).unwrap_or(0),
            status: text("status"),
            summary: json("summary.json").unwrap_or_default(),
            folder: folder.to_owned(),
            record,
        })
    }

    pub fn metric(&self, name: &str) -> Option<f64> {
        match self.summary.get(name)? {
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            value => value.as_f64(),
        }
    }
}

/// All runs below `folder` (or `folder` itself, if it is one), sorted by path.
pub fn scan(folder: &Path) -> Result<Vec<Record>> {
    if let Some(record) = Record::read(folder) {
        return Ok(vec![record]);
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    let mut found = Vec::new();
    for inner in folders {
        found.extend(scan(&inner)?);
    }
    Ok(found)
}
