//! Files that are whole or not there.

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes `bytes` so that a crash leaves either the old file or the new one: temporary file, sync, rename.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        anyhow::anyhow!("cannot write {}: {error}", path.display())
    })
}

pub fn read_json(path: &Path) -> Result<Map<String, Value>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not a JSON object", path.display()))
}

/// Removes what a killed process left half-written in the run folder.
pub fn remove_leftovers(folder: &Path) {
    for place in [folder.to_owned(), folder.join("checkpoints")] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') && name.to_string_lossy().contains(".tmp") {
                let path = entry.path();
                let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
        }
    }
}
