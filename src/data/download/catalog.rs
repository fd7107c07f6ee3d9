//! The sets that can be fetched. Sizes and SHA-256 are those published in `tensorflow/datasets` (`url_checksums/*.txt`); the
//! places are the ones the readers look in.

use anyhow::{Context, Result};

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
    /// For a set that comes as one .tar.gz: the files to unpack from the archive's folder `folder`, with their sizes.
    pub contents: &'static [(&'static str, u64)],
}

/// Every set `reglab data get` knows.
pub const SETS: &[RemoteSet] = &[
    RemoteSet {
        name: "mnist",
        what: "70,000 gray 28x28 handwritten digits",
        folder: "mnist",
        addresses: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ],
        files: &[
            RemoteFile {
                name: "train-images-idx3-ubyte.gz",
                size: 9_912_422,
                sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            },
            RemoteFile {
                name: "train-labels-idx1-ubyte.gz",
                size: 28_881,
                sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            },
            RemoteFile {
                name: "t10k-images-idx3-ubyte.gz",
                size: 1_648_877,
                sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            },
            RemoteFile {
                name: "t10k-labels-idx1-ubyte.gz",
                size: 4_542,
                sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
        ],
        contents: &[],
    },
    RemoteSet {
        name: "fashion-mnist",
        what: "70,000 gray 28x28 pieces of clothing, 10 classes",
        folder: "fashion-mnist",
        addresses: &["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"],
        files: &[
            RemoteFile {
                name: "train-images-idx3-ubyte.gz",
                size: 26_421_880,
                sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            },
            RemoteFile {
                name: "train-labels-idx1-ubyte.gz",
                size: 29_515,
                sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            },
            RemoteFile {
                name: "t10k-images-idx3-ubyte.gz",
                size: 4_422_102,
                sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            },
            RemoteFile {
                name: "t10k-labels-idx1-ubyte.gz",
                size: 5_148,
                sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ],
        contents: &[],
    },
    RemoteSet {
        name: "cifar10",
        what: "60,000 RGB 32x32 images, 10 classes",
        folder: "cifar-10-batches-bin",
        addresses: &["https://www.cs.toronto.edu/~kriz"],
        files: &[RemoteFile {
            name: "cifar-10-binary.tar.gz",
            size: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        }],
        contents: &[
            ("data_batch_1.bin", 30_730_000),
            ("data_batch_2.bin", 30_730_000),
            ("data_batch_3.bin", 30_730_000),
            ("data_batch_4.bin", 30_730_000),
            ("data_batch_5.bin", 30_730_000),
            ("test_batch.bin", 30_730_000),
        ],
    },
    RemoteSet {
        name: "cifar100",
        what: "60,000 RGB 32x32 images, 100 classes in 20 superclasses",
        folder: "cifar-100-binary",
        addresses: &["https://www.cs.toronto.edu/~kriz"],
        files: &[RemoteFile {
            name: "cifar-100-binary.tar.gz",
            size: 168_513_733,
            sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        }],
        contents: &[("train.bin", 153_700_000), ("test.bin", 30_740_000)],
    },
    RemoteSet {
        name: "tinyshakespeare",
        what: "1.1 MB of Shakespeare's plays as one text",
        folder: "tinyshakespeare",
        addresses: &["https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare"],
        files: &[RemoteFile {
            name: "input.txt",
            size: 1_115_394,
            sha256: "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        }],
        contents: &[],
    },
];

/// The set called `name`.
pub fn find(name: &str) -> Result<&'static RemoteSet> {
    SETS.iter().find(|set| set.name == name).with_context(|| {
        let names: Vec<&str> = SETS.iter().map(|set| set.name).collect();
        format!("there is no data set {name:?} to fetch; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        for set in SETS {
            assert_eq!(find(set.name).unwrap().folder, set.folder);
            assert!(set.contents.is_empty() || set.files.len() == 1, "{}: an archive is one file", set.name);
            for file in set.files {
                assert!(file.size > 0 && file.sha256.len() == 64, "{}", file.name);
                assert!(file.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{}", file.name);
            }
        }
        assert!(find("svhn").map(|_| ()).unwrap_err().to_string().contains("there are mnist, fashion-mnist"));
    }
}
