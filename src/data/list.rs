//! Images named in a text file, `path label` a line, as Clothing1M and WebVision come: paths below the set's folder, labels
//! whole numbers from 0. Empty lines and lines that begin with `#` are skipped.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

use super::folder::Tree;

/// The lists of a set: that of the training images and, if there is one, that of the test images.
pub(super) struct Lists {
    pub train: PathBuf,
    pub test: Option<PathBuf>,
}

impl Lists {
    /// In `folder`: those that are named, else `train.txt` and `test.txt` or `val.txt`.
    pub fn find(folder: &Path, train: Option<&Path>, test: Option<&Path>) -> Result<Lists> {
        let there = |field: &str, path: PathBuf| -> Result<PathBuf> {
            ensure!(
                path.is_file(),
                "{field}: there is no list {} (a relative path starts in data.path, and that in the data root)",
                path.display()
            );
            Ok(path)
        };
        let train = there("data.list", folder.join(train.unwrap_or(Path::new("train.txt"))))?;
        let test = match test {
            Some(test) => Some(there("data.test_list", folder.join(test))?),
            None => ["test.txt", "val.txt"].map(|name| folder.join(name)).into_iter().find(|path| path.is_file()),
        };
        Ok(Lists { train, test })
    }
}

/// The images of a list with a label below `classes` (0: all labels there are).
pub(super) fn read(list: &Path, folder: &Path, classes: usize) -> Result<Vec<(PathBuf, i64)>> {
    let text = std::fs::read_to_string(list).with_context(|| format!("cannot read the list {}", list.display()))?;
    let mut files = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = || format!("{}:{number}", list.display());
        let entry = line.rsplit_once(char::is_whitespace).and_then(|(path, label)| Some((path, label.parse().ok()?)));
        let Some((path, label)) = entry.filter(|&(_, label): &(&str, i64)| label >= 0) else {
            bail!("{}: {line:?} is not of the form `path label` with a label 0, 1, 2, ...", place());
        };
        if classes > 0 && label >= classes as i64 {
            continue;
        }
        let path = folder.join(path.trim_end());
        ensure!(path.is_file(), "{}: there is no image {}", place(), path.display());
        files.push((path, label));
    }
    let kept = if classes > 0 { format!(" with a label below data.classes = {classes}") } else { String::new() };
    ensure!(!files.is_empty(), "{} names no images{kept}", list.display());
    Ok(files)
}

/// Both lists with the same classes, named by their numbers: as many as `classes`, or as the largest label says.
pub(super) fn trees(lists: Vec<Vec<(PathBuf, i64)>>, classes: usize) -> Vec<Tree> {
    let largest = lists.iter().flatten().map(|&(_, label)| label as usize + 1).max().unwrap_or(0);
    let names: Vec<String> = (0..classes.max(largest)).map(|class| class.to_string()).collect();
    lists.into_iter().map(|files| Tree { classes: names.clone(), files }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(lines: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b c.png"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::write(folder.path().join("train.txt"), lines).unwrap();
        folder
    }

    #[test]
    fn lines_are_paths_and_labels_and_a_path_may_hold_spaces() {
        let folder = folder("# two images\na.png 1\n\nb c.png\t3\n");
        let list = folder.path().join("train.txt");
        let all = read(&list, folder.path(), 0).unwrap();
        assert_eq!(all.iter().map(|(_, label)| *label).collect::<Vec<_>>(), [1, 3]);
        assert!(all[1].0.ends_with("b c.png"));
        let few = read(&list, folder.path(), 2).unwrap();
        assert_eq!(few.len(), 1);
        assert_eq!(trees(vec![all, few], 0)[1].classes, ["0", "1", "2", "3"]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let fails = |lines: &str| {
            let folder = folder(lines);
            read(&folder.path().join("train.txt"), folder.path(), 3).unwrap_err().to_string()
        };
        for bad in ["a.png 0\na.png", "a.png 0\na.png -1", "a.png 0\na.png cat"] {
            assert!(fails(bad).contains("train.txt:2: \"a.png"), "{}", fails(bad));
        }
        assert!(fails("x.png 0").contains("there is no image"));
        assert!(fails("a.png 3").contains("names no images with a label below data.classes = 3"));
    }

    #[test]
    fn lists_are_the_usual_ones_or_those_that_are_named() {
        let folder = folder("a.png 0");
        let lists = Lists::find(folder.path(), None, None).unwrap();
        assert!(lists.train.ends_with("train.txt") && lists.test.is_none());
        let missing = |train, test| Lists::find(folder.path(), train, test).err().unwrap().to_string();
        assert!(missing(Some(Path::new("noisy.txt")), None).contains("data.list: there is no list"));
        assert!(missing(None, Some(Path::new("clean.txt"))).contains("data.test_list: there is no list"));
    }
}
