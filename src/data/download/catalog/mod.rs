//! The sets that can be fetched, and those that a person must fetch. Sizes and SHA-256 are those published in
//! `tensorflow/datasets` (`url_checksums/*.txt`), or with the set; the places are the ones the readers look in.

mod by_hand;
mod images;
mod texts;

use anyhow::{Context, Result};

pub use by_hand::BY_HAND;

/// One file as it is downloaded.
pub struct RemoteFile {
    pub name: &'static str,
    /// Bytes.
    pub size: u64,
    /// 64 lower-case hexadecimal digits.
    pub sha256: &'static str,
}

/// A set as it lies in the world and on the disk.
pub struct RemoteSet {
    pub name: &'static str,
    pub what: &'static str,
    /// Its folder in the data root.
    pub folder: &'static str,
    /// Addresses of folders that hold the files, tried in this order.
    pub addresses: &'static [&'static str],
    pub files: &'static [RemoteFile],
    pub form: Form,
}

/// What the downloaded files are.
pub enum Form {
    /// The set itself.
    Plain,
    /// One archive (.tar.gz) of few files below the folder `top`: those that are needed, with their sizes.
    Packed { top: &'static str, contents: &'static [(&'static str, u64)] },
    /// Archives (.tar, .tar.gz, .tgz, .zip) of a whole tree.
    Tree(Tree),
}

impl Form {
    pub fn is_plain(&self) -> bool {
        matches!(self, Form::Plain)
    }
}

/// What the archives of a tree may unpack to.
pub struct Tree {
    /// The folder in the archive that is the set's; empty when everything in it is.
    pub top: &'static str,
    /// Files and folders that must be there afterwards.
    pub needs: &'static [&'static str],
    /// Most files and folders there may be.
    pub entries: usize,
    /// Most bytes they may have.
    pub bytes: u64,
}

/// A set whose owners want each user's consent.
pub struct ByHand {
    pub name: &'static str,
    pub what: &'static str,
    /// Its folder in the data root.
    pub folder: &'static str,
    /// Where one asks for it.
    pub page: &'static str,
    /// What to do with what one gets there.
    pub steps: &'static str,
    /// Files and folders that must be there afterwards.
    pub needs: &'static [&'static str],
}

/// Every set `reglab data get` can fetch.
pub fn sets() -> impl Iterator<Item = &'static RemoteSet> {
    images::SETS.iter().chain(texts::SETS)
}

/// The set called `name`.
pub fn find(name: &str) -> Result<&'static RemoteSet> {
    sets().find(|set| set.name == name).with_context(|| {
        let names: Vec<&str> = sets().map(|set| set.name).collect();
        format!("there is no data set {name:?} to fetch; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        for set in sets() {
            assert_eq!(find(set.name).unwrap().folder, set.folder);
            assert!(!matches!(set.form, Form::Packed { .. }) || set.files.len() == 1, "{}: one archive", set.name);
            assert!(!set.addresses.is_empty(), "{}", set.name);
            for file in set.files {
                assert!(file.size > 0 && file.sha256.len() == 64, "{}", file.name);
                assert!(file.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{}", file.name);
            }
        }
        assert!(find("imagenet").map(|_| ()).unwrap_err().to_string().contains("there are mnist, fashion-mnist"));
    }
}
