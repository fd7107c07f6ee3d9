//! Images in a folder, one folder a class: `cats/1.jpg cats/2.png dogs/1.webp`. Classes and files in the order of their names.

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::{Color, Images, progress};

/// The training and the test tree when `path` holds one each (`train`, and `test` or else `val`) instead of classes.
pub(super) fn parts(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let test = ["test", "val"].map(|name| path.join(name)).into_iter().find(|part| part.is_dir())?;
    let train = path.join("train");
    train.is_dir().then_some((train, test))
}

/// Reads the tree below `path`, decoding on all cores. `size` is the side images are resized to, 0 = as they are.
pub(super) fn read(path: &Path, size: u32, color: Color, bar: &ProgressBar) -> Result<Images> {
    let tree = list(path)?;
    ensure!(
        !tree.files.is_empty(),
        "{} has class folders ({}), but no jpg, png or webp images in them",
        path.display(),
        tree.classes.join(", ")
    );
    decode_all(tree, path, size, color, bar)
}

/// Reads the images of a tree that is not empty; `path` is what it came from.
pub(super) fn decode_all(tree: Tree, path: &Path, size: u32, color: Color, bar: &ProgressBar) -> Result<Images> {
    let Tree { classes, files } = tree;
    let (first, _) = files.first().with_context(|| format!("{} names no images", path.display()))?;
    progress::count(bar, path.display().to_string(), files.len());
    let sample = decode(first, size)?;
    let gray = match color {
        Color::Auto => !sample.color().has_color(),
        Color::Gray => true,
        Color::Rgb => false,
    };
    let (channels, width, height) = (if gray { 1 } else { 3 }, sample.width(), sample.height());
    let bytes = channels * width as usize * height as usize;
    let mut pixels = Vec::new();
    let total = bytes * files.len();
    pixels.try_reserve_exact(total).map_err(|_| {
        let gib = total as f64 / (1u64 << 30) as f64;
        anyhow!("{}: its images need {gib:.1} GiB of memory; a smaller data.image_size needs less", path.display())
    })?;
    pixels.resize(total, 0);
    pixels.par_chunks_mut(bytes).zip(&files).try_for_each(|(place, (file, _))| -> Result<()> {
        let image = decode(file, size)?;
        ensure!(
            (image.width(), image.height()) == (width, height),
            "{} is {}x{}, but {} is {width}x{height}: set data.image_size to bring all images to one size",
            file.display(),
            image.width(),
            image.height(),
            first.display()
        );
        if gray {
            place.copy_from_slice(image.to_luma8().as_raw());
        } else {
            planes(image.to_rgb8().as_raw(), place);
        }
        bar.inc(1);
        Ok(())
    })?;
    let labels: Vec<i64> = files.iter().map(|&(_, class)| class).collect();
    Images::new(&pixels, [channels as i64, height.into(), width.into()], &labels, classes, path.display())
}

/// The classes, and every image with the number of its class.
pub(super) struct Tree {
    pub classes: Vec<String>,
    pub files: Vec<(PathBuf, i64)>,
}

fn list(path: &Path) -> Result<Tree> {
    let folders: Vec<PathBuf> = entries(path)?.into_iter().filter(|entry| entry.is_dir()).collect();
    ensure!(
        !folders.is_empty(),
        "{} has no folders in it; data.path must be a folder with one folder of images a class",
        path.display()
    );
    let (mut classes, mut files) = (Vec::new(), Vec::new());
    for folder in folders {
        let inside = entries(&folder)?;
        let images: Vec<&PathBuf> = inside.iter().filter(|file| is_image(file)).collect();
        if let (true, Some(deeper)) = (images.is_empty(), inside.iter().find(|entry| entry.is_dir())) {
            bail!(
                "{} holds folders ({}, ...) instead of images; is data.path meant to be {}?",
                folder.display(),
                file_name(deeper),
                folder.display()
            );
        }
        files.extend(images.into_iter().map(|file| (file.clone(), classes.len() as i64)));
        classes.push(file_name(&folder).into_owned());
    }
    Ok(Tree { classes, files })
}

/// What is in a folder, sorted by name, hidden entries left out.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the folder {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["jpg", "jpeg", "png", "webp"].iter().any(|known| extension == *known) && path.is_file()
}

fn decode(path: &Path, size: u32) -> Result<DynamicImage> {
    let opened = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = opened.with_context(|| format!("cannot read {}", path.display()))?;
    let image = reader.decode().with_context(|| format!("{} is not a readable image", path.display()))?;
    let fits = size == 0 || (image.width(), image.height()) == (size, size);
    Ok(if fits { image } else { image.resize_to_fill(size, size, FilterType::Triangle) })
}

/// RGBRGB... to RR...GG...BB...
fn planes(interleaved: &[u8], planes: &mut [u8]) {
    for (channel, plane) in planes.chunks_exact_mut(interleaved.len() / 3).enumerate() {
        plane.iter_mut().zip(interleaved[channel..].iter().step_by(3)).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};
    use tempfile::TempDir;

    fn rgb(folder: &Path, name: &str, (w, h): (u32, u32), color: [u8; 3]) {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        RgbImage::from_pixel(w, h, Rgb(color)).save(folder.join(name)).unwrap();
    }

    fn read_quietly(path: &Path, size: u32, color: Color) -> Result<Images> {
        read(path, size, color, &ProgressBar::hidden())
    }

    fn fails(path: &Path) -> String {
        format!("{:#}", read_quietly(path, 0, Color::Auto).map(|_| ()).unwrap_err())
    }

    #[test]
    fn a_tree_is_read_in_the_order_of_its_names() {
        let folder = TempDir::new().unwrap();
        rgb(folder.path(), "b/2.png", (3, 2), [4, 5, 6]);
        rgb(folder.path(), "b/1.PNG", (3, 2), [1, 2, 3]);
        rgb(folder.path(), "a/x.webp", (3, 2), [7, 8, 9]);
        std::fs::write(folder.path().join("b/notes.txt"), "not an image").unwrap();
        std::fs::create_dir(folder.path().join(".cache")).unwrap();
        let images = read_quietly(folder.path(), 0, Color::Auto).unwrap();
        assert_eq!(images.classes, ["a", "b"]);
        assert_eq!(images.pixels.size(), [3, 3, 2, 3]);
        assert_eq!(Vec::<i64>::try_from(&images.labels).unwrap(), [0, 1, 1]);
        let corner = images.pixels.select(3, 2).select(2, 1).contiguous().view(-1);
        assert_eq!(Vec::<u8>::try_from(corner).unwrap(), [7, 8, 9, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn channels_follow_the_first_image_or_the_configuration() {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        GrayImage::from_pixel(4, 4, Luma([9])).save(folder.path().join("a/1.png")).unwrap();
        rgb(folder.path(), "a/2.png", (4, 4), [50, 50, 50]);
        let gray = read_quietly(folder.path(), 0, Color::Auto).unwrap();
        assert_eq!(gray.shape(), [1, 4, 4]);
        assert_eq!(gray.pixels.int64_value(&[1, 0, 0, 0]), 50);
        assert_eq!(read_quietly(folder.path(), 0, Color::Rgb).unwrap().shape(), [3, 4, 4]);
    }

    #[test]
    fn sizes_must_agree_or_be_brought_together() {
        let folder = TempDir::new().unwrap();
        rgb(folder.path(), "a/1.png", (8, 4), [9, 9, 9]);
        rgb(folder.path(), "a/2.png", (4, 4), [9, 9, 9]);
        assert!(fails(folder.path()).contains("2.png is 4x4, but"), "{}", fails(folder.path()));
        let images = read_quietly(folder.path(), 2, Color::Auto).unwrap();
        assert_eq!(images.pixels.size(), [2, 3, 2, 2]);
        assert_eq!(images.pixels.min().int64_value(&[]), 9);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = TempDir::new().unwrap();
        assert!(fails(folder.path()).contains("no folders in it"));
        assert!(fails(&folder.path().join("nowhere")).contains("nowhere"));
        std::fs::create_dir(folder.path().join("a")).unwrap();
        assert!(fails(folder.path()).contains("no jpg, png or webp images"));
        rgb(folder.path(), "a/b/1.png", (2, 2), [1, 1, 1]);
        assert!(fails(folder.path()).contains("meant to be"), "{}", fails(folder.path()));
        rgb(folder.path(), "a/1.png", (2, 2), [1, 1, 1]);
        std::fs::write(folder.path().join("a/2.jpg"), "no image").unwrap();
        assert!(fails(folder.path()).contains("a/2.jpg is not a readable image"), "{}", fails(folder.path()));
    }

    #[test]
    fn a_folder_may_hold_a_training_and_a_test_tree() {
        let folder = TempDir::new().unwrap();
        assert!(parts(folder.path()).is_none());
        for part in ["train", "val"] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
        }
        let (train, test) = parts(folder.path()).unwrap();
        assert!(train.ends_with("train") && test.ends_with("val"));
        std::fs::create_dir(folder.path().join("test")).unwrap();
        assert!(parts(folder.path()).unwrap().1.ends_with("test"));
    }
}
