//! The IDX format of MNIST and its relatives (<http://yann.lecun.com/exdb/mnist/>), gzip-compressed or not.
//!
//! Big-endian: two zero bytes, the type of the values (8 = uint8), the number of dimensions, each dimension as uint32, values.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::Images;

/// A pair of files: images `[N, H, W]` and their labels `[N]`.
pub(super) fn read_images(images: &Path, labels: &Path, classes: Vec<String>) -> Result<Images> {
    let ([n, h, w], pixels) = read(images)?;
    let ([count], values) = read(labels)?;
    ensure!(n == count, "{} holds {n} images, but {} holds {count} labels", images.display(), labels.display());
    let values: Vec<i64> = values.into_iter().map(i64::from).collect();
    Images::new(&pixels, [1, h, w], &values, classes, labels.display())
}

/// A whole file of uint8 values in `D` dimensions.
fn read<const D: usize>(path: &Path) -> Result<([i64; D], Vec<u8>)> {
    let mut file = open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut magic = [0; 4];
    fill(&mut file, &mut magic, path)?;
    let expected = 0x0800 | D as u32;
    ensure!(
        u32::from_be_bytes(magic) == expected,
        "{} starts with {:#010x}; an IDX file of {D}-dimensional uint8 data starts with {expected:#010x}",
        path.display(),
        u32::from_be_bytes(magic)
    );
    let mut shape = [0i64; D];
    for size in &mut shape {
        let mut bytes = [0; 4];
        fill(&mut file, &mut bytes, path)?;
        *size = u32::from_be_bytes(bytes).into();
    }
    let Some(count) = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64)) else {
        bail!("{} claims the impossible size {shape:?}", path.display());
    };
    // Read as far as the file goes: memory is taken for what is there, not for what the header claims.
    let mut values = Vec::new();
    file.take(count.saturating_add(1))
        .read_to_end(&mut values)
        .with_context(|| format!("cannot read {} to its end", path.display()))?;
    let found = values.len() as u64;
    ensure!(found >= count, "{} is truncated: {found} of the {count} values of {shape:?} are there", path.display());
    ensure!(found == count, "{} goes on after the {count} values of {shape:?}: it is not this file", path.display());
    Ok((shape, values))
}

/// The file's content, unpacked when it is gzip.
fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(path)?);
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

fn fill(file: &mut impl Read, bytes: &mut [u8], path: &Path) -> Result<()> {
    file.read_exact(bytes).with_context(|| format!("{} is truncated: its header does not end", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        shape.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn classes() -> Vec<String> {
        super::super::class_names::digits()
    }

    #[test]
    fn packed_and_plain_files_are_read() {
        let folder = TempDir::new().unwrap();
        let images = file(&folder, "images.gz", &gz(&idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 255])));
        let labels = file(&folder, "labels", &idx(&[2], &[9, 0]));
        let set = read_images(&images, &labels, classes()).unwrap();
        assert_eq!(set.pixels.size(), [2, 1, 1, 3]);
        assert_eq!(Vec::<u8>::try_from(set.pixels.view(-1)).unwrap(), [1, 2, 3, 4, 5, 255]);
        assert_eq!(Vec::<i64>::try_from(&set.labels).unwrap(), [9, 0]);
    }

    #[test]
    fn broken_files_end_in_one_sentence() {
        let folder = TempDir::new().unwrap();
        let good = file(&folder, "good", &idx(&[2, 1, 1], &[1, 2]));
        let labels = file(&folder, "labels", &idx(&[2], &[0, 1]));
        let images_fail = |bytes: &[u8]| {
            let path = file(&folder, "broken", bytes);
            format!("{:#}", read_images(&path, &labels, classes()).map(|_| ()).unwrap_err())
        };
        assert!(images_fail(b"").contains("truncated"));
        assert!(images_fail(&idx(&[2], &[0, 1])).contains("starts with 0x00000801"));
        assert!(images_fail(b"<html>not found</html>").contains("starts with 0x3c68746d"));
        assert!(images_fail(&idx(&[2, 1, 1], &[1])).contains("1 of the 2 values"));
        assert!(images_fail(&idx(&[2, 1, 1], &[1, 2, 3])).contains("goes on after"));
        assert!(images_fail(&idx(&[u32::MAX, u32::MAX, u32::MAX], &[1])).contains("impossible size"));
        assert!(images_fail(&gz(&idx(&[2, 1, 1], &[1, 2]))[..20]).contains("broken"));
        assert!(images_fail(&idx(&[3, 1, 1], &[1, 2, 3])).contains("holds 3 images"));
        let labels_fail = |bytes: &[u8]| {
            let path = file(&folder, "broken", bytes);
            format!("{:#}", read_images(&good, &path, classes()).map(|_| ()).unwrap_err())
        };
        assert!(labels_fail(&idx(&[2], &[0, 10])).contains("label 1 is 10"));
        assert!(labels_fail(&idx(&[1], &[0])).contains("holds 1 labels"));
        let empty = file(&folder, "empty", &idx(&[0, 1, 1], &[]));
        let none = file(&folder, "none", &idx(&[0], &[]));
        assert!(read_images(&empty, &none, classes()).map(|_| ()).unwrap_err().to_string().contains("no images"));
        let missing = read_images(Path::new("/nowhere"), &labels, classes()).map(|_| ()).unwrap_err();
        assert!(format!("{missing:#}").contains("/nowhere"));
    }
}
