//! Checksums of unpacked files, in the format of `sha256sum`, written beside them when an archive that was itself checked is
//! unpacked.

use anyhow::{Context, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

use super::checksum::sha256;

pub(super) const NAME: &str = "SHA256SUMS";

/// (checksum, path below the folder) of every line; empty when there is no such file.
pub(super) fn read(folder: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder.join(NAME)).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (sum.into(), name.into())).collect()
}

/// Writes the checksums of the files `names` of `folder` beside them.
pub(super) fn write(folder: &Path, names: &[String]) -> Result<()> {
    let line = |name: &String| Ok(format!("{}  {name}\n", sha256(&folder.join(name))?));
    let lines = names.par_iter().map(line).collect::<Result<Vec<String>>>()?;
    let path = folder.join(NAME);
    std::fs::write(&path, lines.concat()).with_context(|| format!("cannot write {}", path.display()))
}

/// Every file below `folder`, as paths from there, in order.
pub(super) fn files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inside) = open.pop() {
        let place = folder.join(&inside);
        for entry in std::fs::read_dir(&place).with_context(|| format!("cannot read {}", place.display()))? {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    Ok(found)
}
