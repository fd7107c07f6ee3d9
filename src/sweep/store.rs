//! The folder of a sweep, `results/sweeps/<name>/`:
//!
//! ```text
//! grid.toml       what was asked for
//! points.jsonl    a line a point: id, run folder, what the grid chose, the whole configuration
//! workers/N.log   what worker N said on standard error
//! slurm/N/        a job array: job.sh, tasks.txt (a line a task: its points), what the tasks said
//! ```

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Point;
use crate::run::write_atomically;

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub method: String,
    /// Preset or file.
    pub preset: String,
    /// The words of the grid.
    pub grid: Vec<String>,
}

pub struct Store {
    pub folder: PathBuf,
    /// The results tree that the run folders lie in.
    pub results: PathBuf,
    pub asked: Asked,
    pub points: Vec<Point>,
}

const PLACE: &str = "sweeps";

impl Store {
    /// Writes the sweep down under `name` (default: from method, preset and points). A known name may get more points, not
    /// lose any.
    pub fn create(results: &Path, name: Option<&str>, asked: Asked, points: Vec<Point>) -> Result<Store> {
        let name = name.map_or_else(|| default_name(&asked, &points), str::to_owned);
        let folder = results.join(PLACE).join(&name);
        if let Ok(known) = Store::open(&folder) {
            let lost = |p: &&Point| !points.iter().any(|q| q.id == p.id);
            if let Some(point) = known.points.iter().find(lost) {
                bail!(
                    "{} is another sweep: it has the point {}, which this grid lacks; choose another --name",
                    folder.display(),
                    point.name()
                );
            }
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut text = String::new();
        for point in &points {
            text += &serde_json::to_string(point)?;
            text.push('\n');
        }
        write_atomically(&folder.join("grid.toml"), toml::to_string(&asked)?.as_bytes())?;
        write_atomically(&folder.join("points.jsonl"), text.as_bytes())?;
        Ok(Store { folder, results: results.to_owned(), asked, points })
    }

    /// Reads the folder of a sweep.
    pub fn open(folder: &Path) -> Result<Store> {
        let not_one = || anyhow!("{} is not the folder of a sweep: it has no points.jsonl", folder.display());
        let text = fs::read_to_string(folder.join("points.jsonl")).map_err(|_| not_one())?;
        let points = text.lines().map(serde_json::from_str).collect::<Result<Vec<Point>, _>>();
        let points = points.with_context(|| format!("{} is damaged", folder.join("points.jsonl").display()))?;
        let asked = fs::read_to_string(folder.join("grid.toml")).map_err(|_| not_one())?;
        let asked = toml::from_str(&asked).with_context(|| folder.join("grid.toml").display().to_string())?;
        let results = folder.ancestors().nth(2).unwrap_or(Path::new("")).to_owned();
        Ok(Store { folder: folder.to_owned(), results, asked, points })
    }

    /// A sweep by its folder or by its name below `results`; without either, the only one there is.
    pub fn find(results: &Path, name: Option<&Path>) -> Result<Store> {
        let place = results.join(PLACE);
        if let Some(name) = name {
            return if Store::is_one(name) { Store::open(name) } else { Store::open(&place.join(name)) };
        }
        let mut known: Vec<PathBuf> = fs::read_dir(&place)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .filter(|p| Store::is_one(p))
            .collect();
        known.sort();
        match &known[..] {
            [] => bail!("there is no sweep below {}", place.display()),
            [only] => Store::open(only),
            several => {
                let names: Vec<_> = several.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
                bail!("which sweep? There are {}", names.join(", "))
            }
        }
    }

    pub fn is_one(folder: &Path) -> bool {
        folder.join("points.jsonl").is_file()
    }

    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Makes this process the only one that makes the sweep's runs, until the file is dropped.
    pub fn lock(&self) -> Result<File> {
        let path = self.folder.join(".lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let held = file.try_lock();
        held.map_err(|_| anyhow!("another process makes the runs of {}", self.folder.display()))?;
        Ok(file)
    }
}

fn default_name(asked: &Asked, points: &[Point]) -> String {
    let mut ids: Vec<&str> = points.iter().map(|p| p.id.as_str()).collect();
    ids.sort_unstable();
    let digest = Sha256::digest(ids.concat());
    let tail: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{tail}", asked.method, asked.preset)
}
