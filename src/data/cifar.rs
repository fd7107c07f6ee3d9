//! The binary version of CIFAR-10 and CIFAR-100 (<https://www.cs.toronto.edu/~kriz/cifar.html>): records of one label byte
//! (CIFAR-100: two, the coarse and the fine label) and 3 x 32 x 32 bytes, the channels one after the other.

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use std::path::PathBuf;

use super::Images;

const SHAPE: [i64; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// Where a record holds its label.
#[derive(Clone, Copy)]
pub(super) struct Labels {
    pub bytes: usize,
    pub at: usize,
}

pub(super) const CIFAR10: Labels = Labels { bytes: 1, at: 0 };
pub(super) const CIFAR100_COARSE: Labels = Labels { bytes: 2, at: 0 };
pub(super) const CIFAR100_FINE: Labels = Labels { bytes: 2, at: 1 };

/// All records of `files`, in order.
pub(super) fn read(files: &[PathBuf], label: Labels, classes: Vec<String>, bar: &ProgressBar) -> Result<Images> {
    let record = label.bytes + PIXELS;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        let file = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {file}"))?;
        ensure!(
            bytes.len() % record == 0 && !bytes.is_empty(),
            "{file} has {} bytes, not a whole number of records of {record} bytes: it is truncated or another file",
            bytes.len()
        );
        pixels.reserve(bytes.len() / record * PIXELS);
        for (at, record) in bytes.chunks_exact(record).enumerate() {
            let (head, image) = record.split_at(label.bytes);
            let class = usize::from(head[label.at]);
            ensure!(
                class < classes.len(),
                "{file}: record {at} has label {class}, but the classes are numbered 0..={}",
                classes.len() - 1
            );
            labels.push(class as i64);
            pixels.extend_from_slice(image);
        }
        bar.inc(1);
    }
    Images::new(&pixels, SHAPE, &labels, classes, files[0].display())
}

#[cfg(test)]
mod tests {
    use super::super::class_names;
    use super::*;
    use tempfile::TempDir;

    fn record(labels: &[u8], first: u8) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        bytes.extend((0..PIXELS).map(|at| first.wrapping_add((at / 1024) as u8)));
        bytes
    }

    fn read_bytes(bytes: &[u8], label: Labels, list: &str) -> Result<Images> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("batch.bin");
        std::fs::write(&path, bytes).unwrap();
        read(&[path], label, class_names::names(list), &ProgressBar::hidden())
    }

    #[test]
    fn records_are_read_with_fine_or_coarse_labels() {
        let bytes = [record(&[3, 99], 10), record(&[19, 0], 20)].concat();
        let fine = read_bytes(&bytes, CIFAR100_FINE, class_names::CIFAR100).unwrap();
        assert_eq!(fine.pixels.size(), [2, 3, 32, 32]);
        assert_eq!(Vec::<i64>::try_from(&fine.labels).unwrap(), [99, 0]);
        assert_eq!(fine.pixels.int64_value(&[1, 2, 31, 31]), 22);
        let coarse = read_bytes(&bytes, CIFAR100_COARSE, class_names::CIFAR100_COARSE).unwrap();
        assert_eq!(Vec::<i64>::try_from(&coarse.labels).unwrap(), [3, 19]);
        let ten = read_bytes(&record(&[7], 0), CIFAR10, class_names::CIFAR10).unwrap();
        assert_eq!(ten.labels.int64_value(&[0]), 7);
    }

    #[test]
    fn broken_files_end_in_one_sentence() {
        let fails =
            |bytes: &[u8]| read_bytes(bytes, CIFAR10, class_names::CIFAR10).map(|_| ()).unwrap_err().to_string();
        assert!(fails(&record(&[7], 0)[..3072]).contains("has 3072 bytes, not a whole number of records of 3073"));
        assert!(fails(&[record(&[7], 0), vec![1]].concat()).contains("has 3074 bytes"));
        assert!(fails(&[]).contains("has 0 bytes"));
        assert!(fails(&[record(&[7], 0), record(&[10], 0)].concat()).contains("record 1 has label 10"));
    }
}
