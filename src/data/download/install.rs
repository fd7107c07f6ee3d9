//! From checked archives to the files of a set.

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

use super::catalog::{Form, RemoteSet};
use super::sums;
use super::unpack::{Limits, unpack};

/// Room for the small files (readme, names of classes) an archive holds beside the ones that are needed.
const EXTRAS: u64 = 16 << 20;

/// Files an archive of few needed files may hold in all.
const ENTRIES: usize = 1000;

/// Unpacks the archives in a folder of its own, then moves what is not there yet into `folder`.
pub(super) fn install(set: &RemoteSet, archives: &[PathBuf], folder: &Path, bar: &ProgressBar) -> Result<()> {
    let temporary = folder.join(".unpacking");
    // Left over from a call that was killed.
    if temporary.exists() {
        std::fs::remove_dir_all(&temporary).with_context(|| format!("cannot remove {}", temporary.display()))?;
    }
    std::fs::create_dir(&temporary).with_context(|| format!("cannot make the folder {}", temporary.display()))?;
    let done = fill(set, archives, &temporary, bar).and_then(|()| settle(&temporary, folder));
    std::fs::remove_dir_all(&temporary).with_context(|| format!("cannot remove {}", temporary.display()))?;
    done
}

/// Unpacks, checks that what is needed was in the archives, and notes the checksums.
fn fill(set: &RemoteSet, archives: &[PathBuf], temporary: &Path, bar: &ProgressBar) -> Result<()> {
    let (top, mut limits) = match &set.form {
        Form::Plain => return Ok(()),
        Form::Packed { top, contents } => {
            (*top, Limits { entries: ENTRIES, bytes: contents.iter().map(|(_, size)| size).sum::<u64>() + EXTRAS })
        }
        Form::Tree(tree) => (tree.top, Limits { entries: tree.entries, bytes: tree.bytes }),
    };
    for archive in archives {
        unpack(archive, top, temporary, &mut limits, bar)?;
    }
    let from = archives.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
    let below = if top.is_empty() { String::new() } else { format!("{top}/") };
    for (name, size) in set.needed() {
        let metadata = temporary.join(name).metadata();
        let right = metadata.is_ok_and(|metadata| size.is_none_or(|size| metadata.len() == size));
        let wanted = size.map_or(String::new(), |size| format!(" of {size} bytes"));
        ensure!(right, "{from} holds no {below}{name}{wanted}");
    }
    let names = match &set.form {
        Form::Packed { contents, .. } => contents.iter().map(|(name, _)| (*name).to_owned()).collect(),
        _ => sums::files(temporary)?,
    };
    sums::write(temporary, &names)
}

/// Moves everything into place; the checksums last, since they tell that all is there.
fn settle(temporary: &Path, folder: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(temporary)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.file_name() == sums::NAME);
    for entry in entries {
        let place = folder.join(entry.file_name());
        if entry.file_name() == sums::NAME || !place.exists() {
            std::fs::rename(entry.path(), &place).with_context(|| format!("cannot write {}", place.display()))?;
        }
    }
    Ok(())
}
