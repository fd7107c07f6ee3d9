//! From a configuration to training, validation and test images.

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use tch::Device;

use super::cifar::{self, Labels};
use super::list::{self, Lists};
use super::{
    Augment, Color, DataConfig, DataName, DeviceSet, Images, PixelScale, class_names, digits, download, folder, idx,
    progress, split,
};

/// The images of a configuration, on the host.
pub struct Splits {
    pub train: Images,
    /// `None` when `data.val` is 0.
    pub val: Option<Images>,
    pub test: Images,
    pub scale: PixelScale,
}

impl Splits {
    /// Channels, height, width of every image.
    pub fn shape(&self) -> [i64; 3] {
        self.train.shape()
    }

    pub fn classes(&self) -> &[String] {
        &self.train.classes
    }

    /// The same images on `device`; only the training images are augmented.
    pub fn to_device(&self, augment: &Augment, device: Device) -> Result<DeviceSplits> {
        let plain = |images: &Images| DeviceSet::new(images, &self.scale, &Augment::default(), device);
        Ok(DeviceSplits {
            train: DeviceSet::new(&self.train, &self.scale, augment, device)?,
            val: self.val.as_ref().map(plain).transpose()?,
            test: plain(&self.test)?,
        })
    }
}

/// The images of a configuration, on a device.
pub struct DeviceSplits {
    pub train: DeviceSet,
    pub val: Option<DeviceSet>,
    pub test: DeviceSet,
}

/// Reads the set `config` names below the data root `root` and splits it. Counts that do not fit, files that are missing or
/// broken end in an error that says which and what would be right.
pub fn load(config: &DataConfig, root: &Path, bar: &ProgressBar) -> Result<Splits> {
    config.check()?;
    let (train, val, test) = match read(config, root, bar)? {
        Source::Whole(images) => {
            let cut = split::cut(config, images.len())?;
            (images.select(&cut.train), images.select(&cut.val), images.select(&cut.test))
        }
        Source::Parts(train, test) => {
            let test = match split::cut_test_part(config, test.len())? {
                Some(rows) => test.select(&rows),
                None => test,
            };
            match split::cut_training_part(config, train.len())? {
                Some((rows, val)) => (train.select(&rows), train.select(&val), test),
                None => {
                    let none = train.select(&[]);
                    (train, none, test)
                }
            }
        }
    };
    let scale = PixelScale::of(config, &train)?;
    Ok(Splits { train, val: (!val.is_empty()).then_some(val), test, scale })
}

/// A set as it lies on the disk.
enum Source {
    Whole(Images),
    /// A training and a test part.
    Parts(Images, Images),
}

fn read(config: &DataConfig, root: &Path, bar: &ProgressBar) -> Result<Source> {
    let place = Place::of(config, root);
    match config.name {
        DataName::Digits => Ok(Source::Whole(digits::read()?)),
        DataName::Mnist => mnist(&place, class_names::digits(), bar),
        DataName::FashionMnist => mnist(&place, class_names::names(class_names::FASHION_MNIST), bar),
        DataName::Cifar10 => {
            let train: Vec<String> = (1..=5).map(|batch| format!("data_batch_{batch}.bin")).collect();
            cifar(&place, &train, "test_batch.bin", cifar::CIFAR10, class_names::CIFAR10, bar)
        }
        DataName::Cifar100 => {
            let (label, list) = match config.coarse {
                true => (cifar::CIFAR100_COARSE, class_names::CIFAR100_COARSE),
                false => (cifar::CIFAR100_FINE, class_names::CIFAR100),
            };
            cifar(&place, &["train.bin".to_owned()], "test.bin", label, list, bar)
        }
        DataName::Folder => class_folders(config, &place.folder, bar),
        DataName::List => lists(config, &place.folder, bar),
    }
}

fn mnist(place: &Place, classes: Vec<String>, bar: &ProgressBar) -> Result<Source> {
    progress::count(bar, place.name.to_string(), 2);
    let part = |part: &str| -> Result<[PathBuf; 2]> {
        Ok([place.find(&format!("{part}-images-idx3-ubyte"))?, place.find(&format!("{part}-labels-idx1-ubyte"))?])
    };
    let read = |[images, labels]: [PathBuf; 2]| {
        let images = idx::read_images(&images, &labels, classes.clone());
        bar.inc(1);
        images
    };
    // All files must be there before the first is read.
    let (train, test) = (part("train")?, part("t10k")?);
    same_shape(read(train)?, read(test)?, &place.folder)
}

fn cifar(place: &Place, train: &[String], test: &str, label: Labels, list: &str, bar: &ProgressBar) -> Result<Source> {
    progress::count(bar, place.name.to_string(), train.len() + 1);
    let classes = class_names::names(list);
    let test = [place.find(test)?];
    let train: Vec<PathBuf> = train.iter().map(|file| place.find(file)).collect::<Result<_>>()?;
    Ok(Source::Parts(cifar::read(&train, label, classes.clone(), bar)?, cifar::read(&test, label, classes, bar)?))
}

fn class_folders(config: &DataConfig, path: &Path, bar: &ProgressBar) -> Result<Source> {
    ensure!(
        path.is_dir(),
        "data.path: there is no folder {} (a relative path starts in the data root)",
        path.display()
    );
    let size = config.image_size;
    let Some((train, test)) = folder::parts(path) else {
        return Ok(Source::Whole(folder::read(path, size, config.color, bar)?));
    };
    let train = folder::read(&train, size, config.color, bar)?;
    let test = folder::read(&test, size, color_of(&train), bar)?;
    if train.classes != test.classes {
        let (ours, theirs) = (train.classes.join(", "), test.classes.join(", "));
        bail!("{}: training classes are {ours}, but test classes are {theirs}", path.display());
    }
    same_shape(train, test, path)
}

/// The color that other images of the set are to be read as.
fn color_of(train: &Images) -> Color {
    if train.shape()[0] == 1 { Color::Gray } else { Color::Rgb }
}

fn lists(config: &DataConfig, path: &Path, bar: &ProgressBar) -> Result<Source> {
    let found = Lists::find(path, config.list.as_deref(), config.test_list.as_deref())?;
    let (size, classes) = (config.image_size, config.classes);
    // Both lists are checked before the first image is decoded.
    let paths: Vec<&PathBuf> = [&found.train].into_iter().chain(&found.test).collect();
    let files = paths.iter().map(|list| list::read(list, path, classes)).collect::<Result<Vec<_>>>()?;
    let mut trees = list::trees(files, classes).into_iter().zip(paths);
    let (train, list) = trees.next().context("a training list")?;
    let train = folder::decode_all(train, list, size, config.color, bar)?;
    match trees.next() {
        Some((test, list)) => {
            let test = folder::decode_all(test, list, size, color_of(&train), bar)?;
            same_shape(train, test, path)
        }
        None => Ok(Source::Whole(train)),
    }
}

fn same_shape(train: Images, test: Images, path: &Path) -> Result<Source> {
    let (ours, theirs) = (train.shape(), test.shape());
    ensure!(
        ours == theirs,
        "{}: training images are {ours:?} (channels, height, width), but test images are {theirs:?}",
        path.display()
    );
    Ok(Source::Parts(train, test))
}

/// Where the files of a set are looked for.
struct Place {
    name: DataName,
    folder: PathBuf,
    given: bool,
}

impl Place {
    fn of(config: &DataConfig, root: &Path) -> Place {
        let usual = download::find(config.name.as_str()).map(|set| set.folder).unwrap_or_default();
        // Joining an absolute path gives that path.
        let folder = root.join(config.path.as_deref().unwrap_or(Path::new(usual)));
        Place { name: config.name, folder, given: config.path.is_some() }
    }

    /// The file called `name`, or `name.gz`.
    fn find(&self, name: &str) -> Result<PathBuf> {
        let plain = self.folder.join(name);
        let packed = self.folder.join(format!("{name}.gz"));
        let found = [&plain, &packed].into_iter().find(|path| path.is_file()).cloned();
        found.with_context(|| {
            let (set, looked) = (self.name, plain.display());
            if self.given {
                format!("{set} is not in data.path: {looked} does not exist (a relative path starts in the data root)")
            } else {
                format!(
                    "{set} is not there: {looked} does not exist; fetch it with `reglab data get {set}`, or name the data root \
                     that holds it with --data-root or REGLAB_DATA"
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn quietly(config: &DataConfig, root: &Path) -> Result<Splits> {
        load(config, root, &ProgressBar::hidden())
    }

    fn config(text: &str) -> DataConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn images_of_two_lists_share_their_classes() {
        let folder = TempDir::new().unwrap();
        for (i, value) in [(0u8, 10u8), (1, 20), (2, 30)] {
            let image = image::RgbImage::from_pixel(4, 4, image::Rgb([value, value, value + 1]));
            image.save(folder.path().join(format!("{i}.png"))).unwrap();
        }
        std::fs::write(folder.path().join("noisy.txt"), "0.png 2\n1.png 0\n2.png 5\n").unwrap();
        std::fs::write(folder.path().join("val.txt"), "1.png 1\n").unwrap();
        let text = "name = \"list\"\npath = \".\"\nlist = \"noisy.txt\"\nclasses = 4\nimage_size = 2";
        let splits = quietly(&config(text), folder.path()).unwrap();
        assert_eq!(splits.classes(), ["0", "1", "2", "3"]);
        assert_eq!(splits.shape(), [3, 2, 2]);
        assert_eq!(Vec::<i64>::try_from(&splits.train.labels).unwrap(), [2, 0]);
        assert_eq!(Vec::<i64>::try_from(&splits.test.labels).unwrap(), [1]);
        assert_eq!(splits.test.pixels.int64_value(&[0, 2, 0, 0]), 21);
    }

    fn idx_file(path: PathBuf, shape: &[u32], values: &[u8]) {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        shape.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        std::fs::write(path, [&bytes, values].concat()).unwrap();
    }

    /// Three training and two test images of 2x2 pixels; pixel values tell the images apart.
    fn small_mnist(folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        for (part, n, first) in [("train", 3u8, 0u8), ("t10k", 2, 100)] {
            let pixels: Vec<u8> = (0..n).flat_map(|image| [first + image; 4]).collect();
            idx_file(folder.join(format!("{part}-images-idx3-ubyte")), &[n.into(), 2, 2], &pixels);
            idx_file(folder.join(format!("{part}-labels-idx1-ubyte")), &[n.into()], &(0..n).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn digits_are_cut_by_the_seed() {
        let root = Path::new("nowhere");
        let one = quietly(&config("train = 1000\nval = 100\ntest = 500"), root).unwrap();
        assert_eq!((one.train.len(), one.val.as_ref().unwrap().len(), one.test.len()), (1000, 100, 500));
        assert_eq!((one.shape(), one.classes().len(), one.scale.max_value), ([1, 8, 8], 10, 16.0));
        let other = quietly(&config("train = 1000\nval = 100\ntest = 500\nsplit_seed = 1"), root).unwrap();
        assert_ne!(one.test.labels, other.test.labels);
        assert!(quietly(&DataConfig::default(), root).unwrap().val.is_none());
    }

    #[test]
    fn only_training_images_are_augmented() {
        let splits = quietly(&config("val = 10"), Path::new("nowhere")).unwrap();
        let sets = splits.to_device(&Augment { cutout: 8, ..Default::default() }, Device::Cpu).unwrap();
        let changed = |set: &DeviceSet| set.gather(&set.slice(0, 10).index).x != set.slice(0, 10).x;
        assert!(changed(&sets.train) && !changed(&sets.val.unwrap()) && !changed(&sets.test));
        assert_eq!(sets.test.slice(0, 359).x.max().double_value(&[]), 1.0);
    }

    #[test]
    fn parts_stay_apart() {
        let root = TempDir::new().unwrap();
        small_mnist(&root.path().join("mnist"));
        let whole = quietly(&config("name = \"mnist\""), root.path()).unwrap();
        assert_eq!(Vec::<i64>::try_from(&whole.train.labels).unwrap(), [0, 1, 2]);
        assert_eq!(whole.test.pixels.min().int64_value(&[]), 100);
        let cut = quietly(&config("name = \"mnist\"\nval = 1\ntest = 1"), root.path()).unwrap();
        assert_eq!((cut.train.len(), cut.val.unwrap().len(), cut.test.len()), (2, 1, 1));
        small_mnist(&root.path().join("elsewhere"));
        assert!(quietly(&config("name = \"fashion-mnist\"\npath = \"elsewhere\""), root.path()).is_ok());
    }

    #[test]
    fn a_missing_file_names_the_way_out() {
        let root = TempDir::new().unwrap();
        let fails = |text: &str| format!("{:#}", quietly(&config(text), root.path()).map(|_| ()).unwrap_err());
        for (name, file) in [
            ("mnist", "mnist/train-images-idx3-ubyte"),
            ("fashion-mnist", "fashion-mnist/train-images-idx3-ubyte"),
            ("cifar10", "cifar-10-batches-bin/test_batch.bin"),
            ("cifar100", "cifar-100-binary/test.bin"),
        ] {
            let message = fails(&format!("name = \"{name}\""));
            let path = root.path().join(file).display().to_string();
            for needed in [path, format!("reglab data get {name}"), "--data-root".into(), "REGLAB_DATA".into()] {
                assert!(message.contains(&needed), "{message} lacks {needed}");
            }
        }
        assert!(fails("name = \"mnist\"\npath = \"x\"").contains("not in data.path"));
        assert!(fails("name = \"folder\"\npath = \"x\"").contains("there is no folder"));
        small_mnist(&root.path().join("mnist"));
        assert!(fails("name = \"mnist\"\ntrain = 4").starts_with("data.train = 4, but mnist has 3 training images"));
        idx_file(root.path().join("mnist/t10k-images-idx3-ubyte"), &[2, 1, 1], &[0, 0]);
        assert!(fails("name = \"mnist\"").contains("but test images are [1, 1, 1]"));
    }

    #[test]
    fn a_folder_is_cut_or_comes_in_two_parts() {
        let root = TempDir::new().unwrap();
        let image = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::GrayImage::new(2, 2).save(path).unwrap();
        };
        for class in ["a", "b"] {
            for number in 0..5 {
                image(&format!("one/{class}/{number}.png"));
                image(&format!("two/train/{class}/{number}.png"));
            }
            image(&format!("two/test/{class}/0.png"));
        }
        let one = quietly(&config("name = \"folder\"\npath = \"one\""), root.path()).unwrap();
        assert_eq!((one.train.len(), one.test.len(), one.shape()), (8, 2, [1, 2, 2]));
        let two = quietly(&config("name = \"folder\"\npath = \"two\"\nval = 3"), root.path()).unwrap();
        assert_eq!((two.train.len(), two.val.unwrap().len(), two.test.len()), (7, 3, 2));
        image("two/test/c/0.png");
        let fails = quietly(&config("name = \"folder\"\npath = \"two\""), root.path()).map(|_| ()).unwrap_err();
        assert!(fails.to_string().contains("test classes are a, b, c"));
    }
}
