//! Checkpoints: written beside, synced, renamed. A kill at any instant leaves the previous one whole.

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tch::Tensor;

use crate::params::ParamStore;
use crate::params::file::{self, TensorFile};

pub const FORMAT: u32 = 1;

/// `meta.json` of a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    pub format: u32,
    /// The checkpoint's own folder name.
    pub folder: String,
    pub phase: String,
    /// Whether the phase was over.
    pub complete: bool,
    pub step: u64,
    pub epoch: f64,
    /// Seconds of work before it.
    pub time_s: f64,
    /// Phases that were over before this one, with their last checkpoints.
    pub phases: Vec<(String, String)>,
    /// Length of each table in bytes.
    pub tables: BTreeMap<String, u64>,
    pub best: Option<f64>,
}

/// Everything beside the weights: optimizer, doors, EMA, as named tensors.
#[derive(Default)]
pub struct State(pub Vec<(String, Tensor)>);

impl State {
    /// Adds the tensors of one part under `part.`.
    pub fn put(&mut self, part: &str, tensors: Vec<(String, Tensor)>) {
        self.0.extend(tensors.into_iter().map(|(name, tensor)| (format!("{part}.{name}"), tensor)));
    }

    /// The tensors that `put` stored under `part.`, without the prefix.
    pub fn take(&self, part: &str) -> HashMap<String, Tensor> {
        let prefix = format!("{part}.");
        let inside =
            self.0.iter().filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?.to_owned(), t.shallow_clone())));
        inside.collect()
    }
}

/// The network of a checkpoint: its tensors and the JSON of its architecture.
pub struct Weights<'a> {
    pub store: &'a ParamStore,
    pub arch: String,
}

impl Weights<'_> {
    fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([("arch".to_owned(), self.arch.clone()), ("format".to_owned(), "pt".to_owned())])
    }
}

/// A checkpoint read back.
pub struct Checkpoint {
    pub meta: Meta,
    pub path: PathBuf,
    pub model: TensorFile,
    pub state: State,
}

/// `checkpoints/<step>`, or `<step>-<phase>` when another phase ended at the same step.
pub fn folder_name(run: &Path, step: u64, phase: &str) -> String {
    let plain = step.to_string();
    if run.join("checkpoints").join(&plain).exists() { format!("{step}-{phase}") } else { plain }
}

impl Checkpoint {
    pub fn write(run: &Path, meta: &Meta, weights: &Weights, state: &State) -> Result<()> {
        let all = run.join("checkpoints");
        let temporary = all.join(format!(".{}.tmp{}", meta.folder, std::process::id()));
        let write = || -> Result<()> {
            fs::create_dir_all(&temporary)?;
            let named = state.0.iter().map(|(name, tensor)| (name.as_str(), tensor));
            sync(&temporary.join("model.safetensors"), &weights.store.to_bytes(weights.metadata())?)?;
            sync(&temporary.join("state.safetensors"), &file::to_bytes(named, HashMap::new())?)?;
            sync(&temporary.join("meta.json"), &serde_json::to_vec_pretty(meta)?)?;
            let place = all.join(&meta.folder);
            if place.exists() {
                remove(&place)?;
            }
            fs::rename(&temporary, &place)?;
            link(&all, "last", &meta.folder)?;
            File::open(&all)?.sync_all()?;
            Ok(())
        };
        write().map_err(|error| {
            let _ = fs::remove_dir_all(&temporary);
            error.context(format!("cannot write the checkpoint {}", all.join(&meta.folder).display()))
        })
    }

    pub fn read(run: &Path, folder: &str) -> Result<Checkpoint> {
        let path = run.join("checkpoints").join(folder);
        let model = file::read(&path.join("model.safetensors"))?;
        let state = file::read(&path.join("state.safetensors"))?;
        Ok(Checkpoint { meta: meta(&path)?, model, state: State(state.tensors), path })
    }

    /// The newest whole checkpoint of a run.
    pub fn latest(run: &Path) -> Result<Option<Meta>> {
        let mut found: Vec<Meta> = Vec::new();
        for path in listed(run)? {
            found.push(meta(&path)?);
        }
        // Of two at the same step the later phase has more phases behind it.
        Ok(found.into_iter().max_by_key(|m| (m.step, m.phases.len(), m.complete)))
    }
}

fn meta(path: &Path) -> Result<Meta> {
    let place = path.join("meta.json");
    let bytes = fs::read(&place).with_context(|| format!("cannot read {}", place.display()))?;
    let meta: Meta = serde_json::from_slice(&bytes).map_err(|e| anyhow!("{} is damaged: {e}", place.display()))?;
    if meta.format != FORMAT {
        bail!("{} has format {}, this reglab reads format {FORMAT}", place.display(), meta.format);
    }
    Ok(meta)
}

fn listed(run: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if entry.file_type()?.is_dir() && !hidden {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes checkpoints from the middle of phases, but for the newest `keep` and the best.
pub fn retire(run: &Path, phases: &[(String, String)], keep: usize) -> Result<()> {
    let all = run.join("checkpoints");
    let best = fs::read_link(all.join("best")).ok();
    let mut middle = Vec::new();
    for path in listed(run)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pinned = phases.iter().any(|(_, folder)| *folder == name) || best.as_ref().is_some_and(|b| *b == *name);
        if !pinned {
            middle.push((meta(&path)?.step, path));
        }
    }
    middle.sort();
    let superfluous = middle.len().saturating_sub(keep);
    for (_, path) in middle.drain(..superfluous) {
        remove(&path).with_context(|| format!("cannot remove the old checkpoint {}", path.display()))?;
    }
    Ok(())
}

/// Removes a checkpoint, out of sight first: a kill in between must not leave half of one under its own name.
fn remove(place: &Path) -> Result<()> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let hidden = place.with_file_name(format!(".{name}.old.tmp{}", std::process::id()));
    // One of an earlier process with the same number.
    let _ = fs::remove_dir_all(&hidden);
    fs::rename(place, &hidden)?;
    fs::remove_dir_all(&hidden)?;
    Ok(())
}

/// Points `best` at the newest checkpoint.
pub fn link_best(run: &Path) -> Result<()> {
    let all = run.join("checkpoints");
    let newest = fs::read_link(all.join("last")).with_context(|| format!("no checkpoint in {}", all.display()))?;
    link(&all, "best", &newest.to_string_lossy())
}

fn link(all: &Path, name: &str, target: &str) -> Result<()> {
    let temporary = all.join(format!(".{name}.tmp{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(target, &temporary)?;
    fs::rename(&temporary, all.join(name))?;
    Ok(())
}

fn sync(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}
