//! The `[data]` table of a configuration.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

use super::Augment;

/// The sets of images there are readers for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DataName {
    /// 1,797 gray 8x8 images of handwritten digits, compiled into the program: no download.
    #[default]
    Digits,
    /// 60,000 + 10,000 gray 28x28 handwritten digits.
    Mnist,
    /// 60,000 + 10,000 gray 28x28 pieces of clothing.
    FashionMnist,
    /// 50,000 + 10,000 RGB 32x32 images of 10 classes.
    Cifar10,
    /// 50,000 + 10,000 RGB 32x32 images of 100 classes in 20 superclasses.
    Cifar100,
    /// A folder of your own with one folder of jpg, png or webp images a class.
    Folder,
    /// Images named in text files of your own, `path label` a line (Clothing1M, WebVision).
    List,
}

impl DataName {
    /// The name as it is written in a configuration and after `reglab data get`.
    pub fn as_str(self) -> &'static str {
        match self {
            DataName::Digits => "digits",
            DataName::Mnist => "mnist",
            DataName::FashionMnist => "fashion-mnist",
            DataName::Cifar10 => "cifar10",
            DataName::Cifar100 => "cifar100",
            DataName::Folder => "folder",
            DataName::List => "list",
        }
    }

    /// Whether it is a set of the user's own image files.
    pub fn is_own(self) -> bool {
        matches!(self, DataName::Folder | DataName::List)
    }
}

impl fmt::Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How pixels become the network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalize {
    /// (pixel / 255 - mean) / std with the set's usual mean and standard deviation of each channel; for a folder those of its
    /// training images; for digits pixel / 16 and nothing more.
    #[default]
    Dataset,
    /// The same with ImageNet's statistics (RGB sets only): what pretrained networks expect.
    Imagenet,
    /// Values in [0, 1].
    Unit,
}

/// The channels images of a folder are read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Color {
    /// As the first image is.
    #[default]
    Auto,
    /// One channel.
    Gray,
    /// Three channels.
    Rgb,
}

/// Which images, how many for what, and how they reach the network.
///
/// Sets with a test part of their own (mnist, fashion-mnist, cifar10, cifar100, a folder with `train` and `test`) take test
/// images from it, training and validation images from the training part. The others (digits, any other folder) are shuffled
/// and cut. Of a shuffle, training images are the first, test images the last, validation images those before the test images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The set: digits, mnist, fashion-mnist, cifar10, cifar100, folder or list. Default digits.
    pub name: DataName,
    /// Where its files are, absolute or below the data root. Needed for name = "folder": a folder with one folder of images a
    /// class, or with two such trees `train` and `test` (or `val`); and for name = "list": the folder that the lists' paths
    /// start in. Default: the set's usual folder in the data root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// name = "list": the list of the training images, `path label` a line. Default train.txt in data.path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<PathBuf>,
    /// name = "list": the list of the test images. Default test.txt or val.txt in data.path; without one of them test images
    /// are cut from the one list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_list: Option<PathBuf>,
    /// name = "list": use images with labels below this only (WebVision mini: 50), 0 = all. Default 0.
    pub classes: usize,
    /// Training images, 0 = all that are left. Default 0.
    pub train: usize,
    /// Validation images, taken from the training part; 0 = no validation set. Default 0.
    pub val: usize,
    /// Test images, 0 = the whole test part; where there is none, all that train and val leave, or a fifth of the set when
    /// train is 0 too. Default 0.
    pub test: usize,
    /// Seed of the shuffle that decides the split, 0 or more: runs with equal seeds have equal splits. Default 0.
    pub split_seed: u64,
    /// Every seed of the run has a split of its own: the run's seed is added to split_seed. Means over seeds then are means
    /// over test sets too, at the price that runs of different seeds are not tested on the same images. Default false.
    pub split_by_run_seed: bool,
    /// Side in pixels images of a folder or list are resized to (shorter side scaled, centre cropped), 0..=1024; 0 = as they are, which
    /// must then be the same for all. Default 0.
    #[schemars(range(min = 0, max = 1024))]
    pub image_size: u32,
    /// Channels of a folder's or list's images: auto (as the first image is), gray or rgb. Default auto.
    pub color: Color,
    /// The 20 superclasses of cifar100 instead of its 100 classes. Default false.
    pub coarse: bool,
    /// dataset (the set's usual mean and std), imagenet or unit ([0, 1]). Default dataset.
    pub normalize: Normalize,
    /// Random changes of each training image. All off by default.
    pub augment: Augment,
}

impl DataConfig {
    /// What can be said of the fields before a file is read.
    pub fn check(&self) -> Result<()> {
        let (name, own) = (self.name, self.name.is_own());
        ensure!(
            name != DataName::Folder || self.path.is_some(),
            "data.name = \"folder\" needs data.path, a folder with one folder of images a class"
        );
        ensure!(
            name != DataName::List || self.path.is_some(),
            "data.name = \"list\" needs data.path, the folder that the paths in the lists start in"
        );
        for (field, given) in
            [("list", self.list.is_some()), ("test_list", self.test_list.is_some()), ("classes", self.classes > 0)]
        {
            ensure!(name == DataName::List || !given, "data.{field} is for data.name = \"list\" only, not {name}");
        }
        ensure!(
            name != DataName::Digits || self.path.is_none(),
            "data.path is set, but digits are compiled into the program; leave data.path out or choose another data.name"
        );
        ensure!(
            own || self.image_size == 0,
            "data.image_size = {} is for data.name = \"folder\" and \"list\" only, not {name}",
            self.image_size
        );
        ensure!(self.image_size <= 1024, "data.image_size = {} must be at most 1024", self.image_size);
        ensure!(
            own || self.color == Color::Auto,
            "data.color is for data.name = \"folder\" and \"list\" only, not {name}"
        );
        ensure!(
            name == DataName::Cifar100 || !self.coarse,
            "data.coarse = true is for data.name = \"cifar100\" only, not {name}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_goes_there_and_back() {
        let text = "name = \"fashion-mnist\"\npath = \"x\"\nval = 5\nnormalize = \"unit\"\n[augment]\nflip = true\npad_crop = 4\n";
        let config: DataConfig = toml::from_str(text).unwrap();
        assert_eq!((config.name, config.val, config.augment.pad_crop), (DataName::FashionMnist, 5, 4));
        for config in [config, DataConfig::default()] {
            assert_eq!(toml::from_str::<DataConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(toml::from_str::<DataConfig>("trian = 5").is_err());
        assert!(toml::from_str::<DataConfig>("[augment]\nmixup = 1").is_err());
        assert!(toml::from_str::<DataConfig>("train = -1").is_err());
    }

    #[test]
    fn the_schema_has_ranges_and_descriptions() {
        let schema = serde_json::to_value(schemars::schema_for!(DataConfig)).unwrap();
        assert_eq!(schema["properties"]["image_size"]["maximum"], 1024);
        for (field, value) in schema["properties"].as_object().unwrap() {
            assert!(value["description"].is_string(), "{field} has no description");
        }
    }

    #[test]
    fn fields_of_other_sets_are_refused_by_name() {
        let refused = |text: &str| toml::from_str::<DataConfig>(text).unwrap().check().unwrap_err().to_string();
        assert!(refused("name = \"folder\"").contains("needs data.path"));
        assert!(refused("name = \"list\"").contains("needs data.path"));
        assert!(refused("classes = 3").contains("data.classes is for data.name = \"list\""));
        assert!(refused("path = \"x\"").contains("compiled into the program"));
        assert!(refused("image_size = 16").contains("data.image_size = 16"));
        assert!(refused("name = \"mnist\"\ncolor = \"rgb\"").contains("data.color"));
        assert!(refused("name = \"cifar10\"\ncoarse = true").contains("data.coarse"));
        assert!(refused("name = \"folder\"\npath = \"x\"\nimage_size = 5000").contains("at most 1024"));
    }

    #[test]
    fn names_are_those_of_the_file() {
        for name in ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "folder", "list"] {
            let config: DataConfig = toml::from_str(&format!("name = \"{name}\"")).unwrap();
            assert_eq!(config.name.to_string(), name);
        }
    }
}
