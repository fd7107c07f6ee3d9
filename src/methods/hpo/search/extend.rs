//! More trials for a study.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::config::Config;
use crate::config::{Resolved, typed};
use crate::methods::Definition;
use crate::run::{in_use, write_atomically};
use crate::search::Journal;

/// Adds `more` trials to the study in `folder`, which `resume` then makes: its new configuration. Nothing else of a study may
/// change; a study that is refused is left as it was.
pub fn extend(folder: &Path, study: Resolved, more: u64) -> Result<Resolved> {
    let is_study = study.method == super::Search::NAME;
    ensure!(is_study, "--extend adds trials to a study of hpo search, and {} is none", folder.display());
    ensure!(!in_use(folder), "{} is in use by another process", folder.display());
    let mut config: Config = typed(&study.sections)?;
    Journal::open(&folder.join("trials.jsonl"), &config.header(study.header.seed))?;
    config.method.trials += more as usize;
    let mut sections = study.sections.clone();
    crate::config::set(&mut sections, "method.trials", (config.method.trials as i64).into());
    let extended = Resolved { sections, ..study };
    // In this order a kill in between leaves the study as it was, to be finished again.
    match fs::remove_file(folder.join("summary.json")) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot extend {}", folder.display()));
        }
        _ => write_atomically(&folder.join("config.toml"), extended.to_toml()?.as_bytes())?,
    }
    Ok(extended)
}
