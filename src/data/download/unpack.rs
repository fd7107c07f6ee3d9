//! Archives that are not trusted: files and folders below one folder, nothing else, and no more than they may hold.

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

use crate::data::progress;

/// What may still be unpacked.
pub(super) struct Limits {
    /// Files and folders.
    pub entries: usize,
    pub bytes: u64,
}

/// Unpacks what lies in the folder `top` of `archive` (.tar, .tar.gz, .tgz, .zip) into the folder `target`; all of it when
/// `top` is empty. Absolute paths, `..`, links and devices are refused, and so is what lies outside `top`, but for the notes a
/// Mac adds (`__MACOSX`, `._name`), which are left out.
pub(super) fn unpack(archive: &Path, top: &str, target: &Path, limits: &mut Limits, bar: &ProgressBar) -> Result<()> {
    let name = archive.display().to_string();
    let file = File::open(archive).with_context(|| format!("cannot read {name}"))?;
    progress::bytes(bar, format!("unpacking {}", file_name(archive)), file.metadata()?.len());
    let file = BufReader::new(bar.wrap_read(file));
    let mut unpacker = Unpacker { name: &name, top, target, limits };
    if name.ends_with(".zip") {
        unpacker.zip(archive)
    } else if name.ends_with(".tar") {
        unpacker.tar(file)
    } else {
        unpacker.tar(MultiGzDecoder::new(file))
    }
}

struct Unpacker<'a> {
    name: &'a str,
    top: &'a str,
    target: &'a Path,
    limits: &'a mut Limits,
}

impl Unpacker<'_> {
    fn tar(&mut self, bytes: impl Read) -> Result<()> {
        let name = self.name;
        let broken = || format!("{name} is not a whole archive (.tar, .tar.gz)");
        for entry in tar::Archive::new(bytes).entries().with_context(broken)? {
            let mut entry = entry.with_context(broken)?;
            let path = entry.path().with_context(broken)?.into_owned();
            match entry.header().entry_type() {
                EntryType::XGlobalHeader => {}
                EntryType::Directory => self.entry(&path, true, 0, &mut entry)?,
                EntryType::Regular => self.entry(&path, false, entry.size(), &mut entry)?,
                other => bail!("{name}: {} is a {other:?}, not a file or folder", path.display()),
            }
        }
        Ok(())
    }

    fn zip(&mut self, archive: &Path) -> Result<()> {
        let name = self.name;
        let broken = || format!("{name} is not a whole archive (.zip)");
        // The directory of a zip is at its end: it is read through the file itself.
        let mut zip = zip::ZipArchive::new(BufReader::new(File::open(archive)?)).with_context(broken)?;
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).with_context(broken)?;
            let path = PathBuf::from(entry.name().with_context(broken)?.into_owned());
            ensure!(!entry.is_symlink(), "{name}: {} is a symlink, not a file or folder", path.display());
            let (folder, size) = (entry.is_dir(), entry.size());
            self.entry(&path, folder, size, &mut entry)?;
        }
        Ok(())
    }

    /// One entry: where it goes, whether it may, and its bytes.
    fn entry(&mut self, path: &Path, folder: bool, size: u64, bytes: &mut dyn Read) -> Result<()> {
        let name = self.name;
        self.limits.entries =
            self.limits.entries.checked_sub(1).ok_or_else(|| anyhow!("{name} holds too many files"))?;
        if path.components().any(of_a_mac) {
            return Ok(());
        }
        let Some(inside) = below(path, self.top) else {
            let top = if self.top.is_empty() { "the archive" } else { self.top };
            bail!("{name}: {} does not stay below {top}; nothing is unpacked from such an archive", path.display());
        };
        let place = self.target.join(inside);
        if folder {
            return Ok(std::fs::create_dir_all(&place)?);
        }
        ensure!(size <= self.limits.bytes, "{name} unpacks to more than it should");
        std::fs::create_dir_all(place.parent().unwrap_or(self.target))?;
        let cannot = || format!("cannot write {}", place.display());
        let mut file = File::create_new(&place).with_context(cannot)?;
        // What the entry says of its own size is not trusted.
        let written = std::io::copy(&mut bytes.take(size.saturating_add(1)), &mut file)
            .with_context(|| format!("{name} is not a whole archive: {} cannot be unpacked", path.display()))?;
        ensure!(written == size, "{name} is not a whole archive: {} has not {size} bytes", path.display());
        self.limits.bytes -= size;
        file.sync_all().with_context(cannot)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn of_a_mac(step: Component) -> bool {
    let name = step.as_os_str().to_string_lossy();
    name == "__MACOSX" || name.starts_with("._") || name == ".DS_Store"
}

/// `path` as seen from the folder `top`, if it only leads downwards from there.
fn below(path: &Path, top: &str) -> Option<PathBuf> {
    let steps: Option<Vec<_>> = path
        .components()
        .filter(|step| *step != Component::CurDir)
        .map(|step| if let Component::Normal(name) = step { Some(name) } else { None })
        .collect();
    let steps = steps?;
    if top.is_empty() {
        return Some(steps.iter().collect());
    }
    let (first, inside) = steps.split_first()?;
    (*first == top).then(|| inside.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::download::tests::tar_gz;
    use tempfile::TempDir;

    fn unpack_bytes(bytes: &[u8], limit: u64) -> (TempDir, Result<()>) {
        let folder = TempDir::new().unwrap();
        let archive = folder.path().join("a.tar.gz");
        std::fs::write(&archive, bytes).unwrap();
        let target = folder.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let mut limits = Limits { entries: 1000, bytes: limit };
        let result = unpack(&archive, "top", &target, &mut limits, &ProgressBar::hidden());
        (folder, result)
    }

    fn fails(bytes: &[u8]) -> String {
        format!("{:#}", unpack_bytes(bytes, 100).1.unwrap_err())
    }

    #[test]
    fn files_land_below_the_target() {
        let (folder, result) = unpack_bytes(&tar_gz(&[("top/a.bin", b"one"), ("./top/deep/b.bin", b"two")]), 6);
        result.unwrap();
        assert_eq!(std::fs::read(folder.path().join("target/a.bin")).unwrap(), b"one");
        assert_eq!(std::fs::read(folder.path().join("target/deep/b.bin")).unwrap(), b"two");
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for path in ["top/../../evil", "../evil", "/evil", "other/evil", "top/../evil"] {
            let (folder, result) = unpack_bytes(&tar_gz(&[(path, b"evil")]), 100);
            assert!(result.unwrap_err().to_string().contains("does not stay below top"), "{path}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "{path}");
        }
    }

    #[test]
    fn links_and_bombs_are_refused() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "top/link", "/etc/passwd").unwrap();
        assert!(fails(&crate::data::download::tests::gz(&tar.into_inner().unwrap())).contains("is a Symlink"));
        assert!(fails(&tar_gz(&[("top/a", &[0; 60]), ("top/b", &[0; 60])])).contains("more than it should"));
        assert!(fails(b"no archive").contains("not a whole archive"));
        let whole = tar_gz(&[("top/a", &[7; 90])]);
        assert!(fails(&whole[..whole.len() / 2]).contains("not a whole archive"));
    }

    #[test]
    fn zips_are_held_to_the_same_rules() {
        let zip = |files: &[(&str, &[u8])]| {
            let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            for (path, bytes) in files {
                zip.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
                std::io::Write::write_all(&mut zip, bytes).unwrap();
            }
            zip.finish().unwrap().into_inner()
        };
        let unpacked = |bytes: &[u8], entries| {
            let folder = TempDir::new().unwrap();
            let archive = folder.path().join("a.zip");
            std::fs::write(&archive, bytes).unwrap();
            let target = folder.path().join("target");
            std::fs::create_dir(&target).unwrap();
            let result = unpack(&archive, "top", &target, &mut Limits { entries, bytes: 1000 }, &ProgressBar::hidden());
            (folder, result)
        };
        let good =
            zip(&[("top/a", b"one"), ("top/deep/b", b"two"), ("__MACOSX/top/._a", b"x"), ("top/.DS_Store", b"x")]);
        let (folder, result) = unpacked(&good, 10);
        result.unwrap();
        assert_eq!(std::fs::read(folder.path().join("target/deep/b")).unwrap(), b"two");
        assert!(!folder.path().join("target/.DS_Store").exists());
        let fails = |bytes: &[u8], entries| format!("{:#}", unpacked(bytes, entries).1.unwrap_err());
        assert!(fails(&good, 2).contains("too many files"));
        assert!(fails(&zip(&[("top/../../evil", b"evil")]), 10).contains("does not stay below top"));
        assert!(fails(&zip(&[("top/bomb", &[0; 100_000])]), 10).contains("more than it should"));
        assert!(fails(&good[..good.len() / 2], 10).contains("not a whole archive"));
        // An entry that says it is smaller than it is.
        let mut lying = zip(&[("top/bomb", &[0; 100_000])]);
        let (size, small) = (100_000u32.to_le_bytes(), 10u32.to_le_bytes());
        let places: Vec<usize> = (0..lying.len() - 3).filter(|&i| lying[i..i + 4] == size).collect();
        assert!(!places.is_empty());
        for place in places {
            lying[place..place + 4].copy_from_slice(&small);
        }
        assert!(fails(&lying, 10).contains("not a whole archive"));
    }
}
