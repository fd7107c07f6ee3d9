//! Canonical downloads: `get` fetches, `verify` checks, `list` tells what there is and where.

mod catalog;
mod checksum;
mod fetch;
#[cfg(test)]
mod tests;
mod unpack;

pub use catalog::{RemoteFile, RemoteSet, SETS, find};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checksum::sha256;
use fetch::{Fetcher, Source};

/// Checksums of unpacked files, in the format of `sha256sum`, written beside them when an archive that was itself checked is
/// unpacked.
const SUMS: &str = "SHA256SUMS";

/// Room for the small files (readme, names of classes) an archive holds beside the ones that are needed.
const EXTRAS: u64 = 16 << 20;

/// How a file on the disk stands to the published one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The very bytes.
    Good,
    Missing,
    /// There, but there is no checksum to compare with; says why.
    Unchecked(String),
    /// Says what is wrong.
    Bad(String),
}

/// One file of a set.
#[derive(Clone, Debug)]
pub struct FileStatus {
    pub path: PathBuf,
    pub state: State,
}

/// One set, for a table.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    /// Bytes to download.
    pub size: u64,
    /// Whether all files are there (not whether they are right: see [`verify`]).
    pub present: bool,
    /// Its folder; `None` for what is compiled into the program.
    pub place: Option<PathBuf>,
}

/// What there is: the embedded digits, then every set that can be fetched.
pub fn list(root: &Path) -> Vec<Row> {
    let digits = Row { name: "digits", what: "1,797 gray 8x8 handwritten digits", size: 0, present: true, place: None };
    let row = |set: &RemoteSet| Row {
        name: set.name,
        what: set.what,
        size: set.files.iter().map(|file| file.size).sum(),
        present: set.needed().all(|(name, _)| locate(&root.join(set.folder), name).is_some()),
        place: Some(root.join(set.folder)),
    };
    std::iter::once(digits).chain(SETS.iter().map(row)).collect()
}

/// Compares every file of a set with the published one.
pub fn verify(name: &str, root: &Path, bar: &ProgressBar) -> Result<Vec<FileStatus>> {
    verify_set(find(name)?, root, bar)
}

/// Fetches a set into its folder below `root` and returns the folder. `mirror` is an address or a folder to take the files
/// from instead of the published addresses; sizes and checksums must be the published ones all the same. Files that are there
/// and right are left alone, files that are there and different are an error. What was received before an interruption is kept
/// and completed by the next call.
pub fn get(name: &str, root: &Path, mirror: Option<&str>, bar: &ProgressBar) -> Result<PathBuf> {
    get_set(find(name)?, root, mirror, &Fetcher::new(Duration::from_secs(1), bar))
}

impl RemoteSet {
    /// The files the readers need, with their sizes.
    fn needed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let whole = if self.contents.is_empty() { self.files } else { &[] };
        whole.iter().map(|file| (file.name, file.size)).chain(self.contents.iter().copied())
    }
}

/// The file called `name`, packed or not.
fn locate(folder: &Path, name: &str) -> Option<PathBuf> {
    [name, name.trim_end_matches(".gz")].iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

fn verify_set(set: &RemoteSet, root: &Path, bar: &ProgressBar) -> Result<Vec<FileStatus>> {
    let folder = root.join(set.folder);
    let sums = read_sums(&folder);
    super::progress::count(bar, set.name.to_owned(), set.needed().count());
    let status = |(name, size): (&str, u64)| {
        let published = set.files.iter().find(|file| file.name == name).map(|file| file.sha256.to_owned());
        let known = published.or_else(|| sums.iter().find(|(_, of)| of == name).map(|(sum, _)| sum.clone()));
        let path = locate(&folder, name).unwrap_or_else(|| folder.join(name));
        let state = state(&path, name, size, known.as_deref())?;
        bar.inc(1);
        Ok(FileStatus { path, state })
    };
    set.needed().map(status).collect()
}

/// `name` and `size` are the published ones, `sum` its SHA-256 if it is known.
fn state(path: &Path, name: &str, size: u64, sum: Option<&str>) -> Result<State> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(State::Missing) };
    if !path.ends_with(name) {
        return Ok(State::Unchecked(format!("a checksum is published for {name} only")));
    }
    if metadata.len() != size {
        return Ok(State::Bad(format!("it has {} bytes, the published file has {size}", metadata.len())));
    }
    let Some(sum) = sum else {
        return Ok(State::Unchecked(format!("it has the right size, but no {SUMS} is beside it")));
    };
    let found = sha256(path)?;
    Ok(if found == sum { State::Good } else { State::Bad(format!("its SHA-256 is {found}, not {sum}")) })
}

/// (checksum, file name) of every line; empty when there is no such file.
fn read_sums(folder: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder.join(SUMS)).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (sum.into(), name.into())).collect()
}

fn get_set(set: &RemoteSet, root: &Path, mirror: Option<&str>, fetcher: &Fetcher) -> Result<PathBuf> {
    let folder = root.join(set.folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let _lock = lock(&folder)?;
    let status = verify_set(set, root, fetcher.bar)?;
    for FileStatus { path, state } in &status {
        if let State::Bad(why) = state {
            bail!("{} is in the way: {why}; move it elsewhere to fetch {}", path.display(), set.name);
        }
    }
    let sources: Vec<Source> = match mirror {
        Some(mirror) => vec![Source::new(mirror)],
        None => set.addresses.iter().map(|address| Source::new(address)).collect(),
    };
    let missing: Vec<&PathBuf> = status.iter().filter(|f| f.state == State::Missing).map(|f| &f.path).collect();
    for file in set.files {
        let place = folder.join(file.name);
        if set.contents.is_empty() {
            if missing.contains(&&place) {
                fetcher.file(file, &sources, &place)?;
            }
        } else if !missing.is_empty() {
            fetcher.file(file, &sources, &place)?;
            install(set, &place, &folder)?;
            std::fs::remove_file(&place).with_context(|| format!("cannot remove {}", place.display()))?;
        }
    }
    Ok(folder)
}

/// Keeps a second `get` of the same set away as long as the result lives.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!("another reglab is fetching into {}", folder.display()),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Unpacks a checked archive in a folder of its own, then moves what is not there yet into `folder`, file by file.
fn install(set: &RemoteSet, archive: &Path, folder: &Path) -> Result<()> {
    let temporary = folder.join(".unpacking");
    // Left over from a call that was killed.
    if temporary.exists() {
        std::fs::remove_dir_all(&temporary).with_context(|| format!("cannot remove {}", temporary.display()))?;
    }
    std::fs::create_dir(&temporary).with_context(|| format!("cannot make the folder {}", temporary.display()))?;
    let limit = set.contents.iter().map(|(_, size)| size).sum::<u64>() + EXTRAS;
    let done =
        unpack::unpack(archive, set.folder, &temporary, limit).and_then(|()| settle(set, archive, &temporary, folder));
    std::fs::remove_dir_all(&temporary).with_context(|| format!("cannot remove {}", temporary.display()))?;
    done
}

/// Checks that the needed files were in the archive, notes their checksums, and moves everything into place.
fn settle(set: &RemoteSet, archive: &Path, temporary: &Path, folder: &Path) -> Result<()> {
    let mut sums = String::new();
    for (name, size) in set.contents {
        let path = temporary.join(name);
        if !path.metadata().is_ok_and(|metadata| metadata.len() == *size) {
            bail!("{} holds no {}/{name} of {size} bytes", archive.display(), set.folder);
        }
        sums += &format!("{}  {name}\n", sha256(&path)?);
    }
    std::fs::write(temporary.join(SUMS), sums)?;
    for entry in std::fs::read_dir(temporary)? {
        let entry = entry?;
        let place = folder.join(entry.file_name());
        if !place.exists() {
            std::fs::rename(entry.path(), &place).with_context(|| format!("cannot write {}", place.display()))?;
        }
    }
    Ok(())
}
