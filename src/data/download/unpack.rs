//! A .tar.gz that is not trusted: files and folders below one folder, nothing else, and no more than it may hold.

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// Entries an archive may have.
const ENTRIES: usize = 1000;

/// Unpacks what lies in the folder `top` of `archive` into the folder `target`, at most `limit` bytes. Absolute paths, `..`,
/// links, devices and entries outside `top` are refused.
pub(super) fn unpack(archive: &Path, top: &str, target: &Path, limit: u64) -> Result<()> {
    let name = archive.display();
    let file = BufReader::new(File::open(archive).with_context(|| format!("cannot read {name}"))?);
    let mut tar = tar::Archive::new(MultiGzDecoder::new(file));
    let (mut entries, mut left) = (0, limit);
    let broken = || format!("{name} is not a whole .tar.gz");
    for entry in tar.entries().with_context(broken)? {
        let mut entry = entry.with_context(broken)?;
        entries += 1;
        ensure!(entries <= ENTRIES, "{name} holds more than {ENTRIES} files");
        let path = entry.path().with_context(broken)?.into_owned();
        let Some(inside) = below(&path, top) else {
            bail!("{name}: {} does not stay below {top}/; nothing is unpacked from such an archive", path.display());
        };
        let place = target.join(inside);
        match entry.header().entry_type() {
            EntryType::Directory => std::fs::create_dir_all(&place)?,
            EntryType::Regular => {
                ensure!(entry.size() <= left, "{name} unpacks to more than {limit} bytes");
                left -= entry.size();
                std::fs::create_dir_all(place.parent().unwrap_or(target))?;
                let cannot = || format!("cannot write {}", place.display());
                let mut file = File::create_new(&place).with_context(cannot)?;
                std::io::copy(&mut entry.by_ref().take(limit), &mut file).with_context(broken)?;
                file.sync_all().with_context(cannot)?;
            }
            other => bail!("{name}: {} is a {other:?}, not a file or folder", path.display()),
        }
    }
    Ok(())
}

/// `path` as seen from the folder `top`, if it only leads downwards from there.
fn below(path: &Path, top: &str) -> Option<PathBuf> {
    let steps: Option<Vec<_>> = path
        .components()
        .filter(|step| *step != Component::CurDir)
        .map(|step| if let Component::Normal(name) = step { Some(name) } else { None })
        .collect();
    let steps = steps?;
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
        let result = unpack(&archive, "top", &target, limit);
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
            assert!(result.unwrap_err().to_string().contains("does not stay below top/"), "{path}");
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
        assert!(fails(&tar_gz(&[("top/a", &[0; 60]), ("top/b", &[0; 60])])).contains("more than 100 bytes"));
        assert!(fails(b"no archive").contains("not a whole .tar.gz"));
        let whole = tar_gz(&[("top/a", &[7; 90])]);
        assert!(fails(&whole[..whole.len() / 2]).contains("not a whole .tar.gz"));
    }
}
