//! Reads the run folders below a results tree.

use anyhow::{Context, Result};
use rayon::prelude::*;
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

    /// When the run began, as text that sorts.
    pub fn started(&self) -> &str {
        self.record.get("started").and_then(Value::as_str).unwrap_or_default()
    }
}

/// All runs below `folder` (or `folder` itself, if it is one), sorted by path.
pub fn scan(folder: &Path) -> Result<Vec<Record>> {
    if let Some(record) = Record::read(folder) {
        return Ok(vec![record]);
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    // Without a further look at the disk: the kind of an entry comes with its name.
    let is_folder = |e: &fs::DirEntry| e.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink());
    let mut folders: Vec<PathBuf> = entries.flatten().filter(is_folder).map(|e| e.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    let found: Vec<Vec<Record>> = folders.par_iter().map(|inner| scan(inner)).collect::<Result<_>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// The runs below any of the folders, each once.
pub fn scan_all(folders: &[PathBuf]) -> Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    for folder in folders {
        records.extend(scan(folder)?);
    }
    let mut seen = std::collections::HashSet::new();
    records.retain(|record| seen.insert(record.folder.canonicalize().unwrap_or_else(|_| record.folder.clone())));
    Ok(records)
}
