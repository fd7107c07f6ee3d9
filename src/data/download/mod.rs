//! Canonical downloads: `get` fetches, `verify` checks, `list` tells what there is and where.

mod catalog;
mod checksum;
mod fetch;
mod install;
mod sums;
#[cfg(test)]
mod tests;
mod unpack;

pub use catalog::{BY_HAND, ByHand, Form, RemoteFile, RemoteSet, Tree, find, sets};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checksum::sha256;
use fetch::{Fetcher, Source};

/// How a file on the disk stands to the published one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The very bytes.
    Good,
    /// There; nothing is published to compare it with.
    Present,
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

/// What there is: the embedded digits, every set that can be fetched, and those a person must fetch.
pub fn list(root: &Path) -> Vec<Row> {
    let digits = Row { name: "digits", what: "1,797 gray 8x8 handwritten digits", size: 0, present: true, place: None };
    let row = |set: &RemoteSet| {
        let folder = root.join(set.folder);
        Row {
            name: set.name,
            what: set.what,
            size: set.files.iter().map(|file| file.size).sum(),
            present: set.needed().all(|(name, _)| locate(&folder, name).is_some()),
            place: Some(folder),
        }
    };
    let by_hand = |set: &ByHand| {
        let folder = root.join(set.folder);
        let present = set.needs.iter().all(|name| folder.join(name).exists());
        Row { name: set.name, what: set.what, size: 0, present, place: Some(folder) }
    };
    std::iter::once(digits).chain(sets().map(row)).chain(BY_HAND.iter().map(by_hand)).collect()
}

/// The set called `name` if a person must fetch it.
pub fn find_by_hand(name: &str) -> Option<&'static ByHand> {
    BY_HAND.iter().find(|set| set.name == name)
}

impl ByHand {
    /// What the user has to do, in a few lines.
    pub fn instructions(&self, root: &Path) -> String {
        let needs: Vec<String> = self.needs.iter().map(|name| format!("  {name}")).collect();
        format!(
            "{} cannot be fetched by a program: its owners give it out at\n  {}\nPut it into {}. {}\nThere must be:\n{}\n\
             `reglab data verify {}` checks that.",
            self.name,
            self.page,
            root.join(self.folder).display(),
            self.steps,
            needs.join("\n"),
            self.name
        )
    }
}

/// Compares every file of a set with the published one.
pub fn verify(name: &str, root: &Path, bar: &ProgressBar) -> Result<Vec<FileStatus>> {
    if let Some(set) = find_by_hand(name) {
        let folder = root.join(set.folder);
        let status = |needed: &&str| {
            let path = folder.join(needed);
            let state = if path.exists() { State::Present } else { State::Missing };
            FileStatus { path, state }
        };
        return Ok(set.needs.iter().map(status).collect());
    }
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
    /// The files (or folders) the readers need, with their sizes where those are published.
    fn needed(&self) -> Box<dyn Iterator<Item = (&'static str, Option<u64>)>> {
        match &self.form {
            Form::Plain => Box::new(self.files.iter().map(|file| (file.name, Some(file.size)))),
            Form::Packed { contents, .. } => Box::new(contents.iter().map(|&(name, size)| (name, Some(size)))),
            Form::Tree(tree) => Box::new(tree.needs.iter().map(|&name| (name, None))),
        }
    }
}

/// The file or folder called `name`, packed or not.
fn locate(folder: &Path, name: &str) -> Option<PathBuf> {
    [name, name.trim_end_matches(".gz")].iter().map(|name| folder.join(name)).find(|path| path.exists())
}

fn verify_set(set: &RemoteSet, root: &Path, bar: &ProgressBar) -> Result<Vec<FileStatus>> {
    let folder = root.join(set.folder);
    let sums = sums::read(&folder);
    if matches!(set.form, Form::Tree(_)) {
        return verify_tree(set, &folder, &sums, bar);
    }
    super::progress::count(bar, set.name.to_owned(), set.needed().count());
    let status = |(name, size): (&str, Option<u64>)| {
        let published = set.files.iter().find(|file| file.name == name).map(|file| file.sha256.to_owned());
        let known = published.or_else(|| sums.iter().find(|(_, of)| of == name).map(|(sum, _)| sum.clone()));
        let path = locate(&folder, name).unwrap_or_else(|| folder.join(name));
        let state = state(&path, name, size, known.as_deref())?;
        bar.inc(1);
        Ok(FileStatus { path, state })
    };
    set.needed().map(status).collect()
}

/// What must be there, then every file that is not as it was unpacked.
fn verify_tree(
    set: &RemoteSet,
    folder: &Path,
    sums: &[(String, String)],
    bar: &ProgressBar,
) -> Result<Vec<FileStatus>> {
    super::progress::count(bar, set.name.to_owned(), sums.len());
    let differs = |(sum, name): &(String, String)| {
        let path = folder.join(name);
        let state = state(&path, name, None, Some(sum));
        bar.inc(1);
        match state {
            Ok(State::Good) => None,
            other => Some(other.map(|state| FileStatus { path, state })),
        }
    };
    let mut found = sums.par_iter().filter_map(differs).collect::<Result<Vec<FileStatus>>>()?;
    for (name, _) in set.needed() {
        let path = folder.join(name);
        let state = match (path.exists(), sums.is_empty()) {
            (false, _) => State::Missing,
            (true, true) => State::Unchecked(format!("it is there, but no {} is beside it", sums::NAME)),
            (true, false) => State::Good,
        };
        if !found.iter().any(|status| status.path == path) {
            found.push(FileStatus { path, state });
        }
    }
    Ok(found)
}

/// `name` and `size` are the published ones, `sum` its SHA-256 if it is known.
fn state(path: &Path, name: &str, size: Option<u64>, sum: Option<&str>) -> Result<State> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(State::Missing) };
    if !path.ends_with(name) {
        return Ok(State::Unchecked(format!("a checksum is published for {name} only")));
    }
    if let Some(size) = size.filter(|&size| size != metadata.len()) {
        return Ok(State::Bad(format!("it has {} bytes, the published file has {size}", metadata.len())));
    }
    let Some(sum) = sum else {
        return Ok(State::Unchecked(format!("it has the right size, but no {} is beside it", sums::NAME)));
    };
    let found = sha256(path)?;
    Ok(if found == sum { State::Good } else { State::Bad(format!("its SHA-256 is {found}, not {sum}")) })
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
    if set.form.is_plain() {
        for file in set.files {
            let place = folder.join(file.name);
            if missing.contains(&&place) {
                fetcher.file(file, &sources, &place)?;
            }
        }
    } else if !missing.is_empty() {
        let mut archives = Vec::new();
        for file in set.files {
            archives.push(folder.join(file.name));
            fetcher.file(file, &sources, &folder.join(file.name))?;
        }
        install::install(set, &archives, &folder, fetcher.bar)?;
        for archive in archives {
            std::fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        }
        if let Some((name, _)) = set.needed().find(|(name, _)| locate(&folder, name).is_none()) {
            let stays = folder.join(name);
            bail!("{} was not unpacked: a folder of that name was there before; move it elsewhere", stays.display());
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
