//! From pixels to the network's input: x = (pixel / max - mean) / std, channel by channel.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::{DataConfig, DataName, Images, Normalize};

/// The numbers of a set's normalization.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelScale {
    /// The value of a white pixel: 255, or 16 for digits.
    pub max_value: f64,
    /// One a channel, in units of [0, 1].
    pub mean: Vec<f64>,
    /// One a channel, in units of [0, 1].
    pub std: Vec<f64>,
}

impl PixelScale {
    /// Values in [0, 1].
    pub fn unit(max_value: f64, channels: usize) -> PixelScale {
        PixelScale { max_value, mean: vec![0.0; channels], std: vec![1.0; channels] }
    }

    /// What `config.normalize` asks for; `train` are the training images.
    pub fn of(config: &DataConfig, train: &Images) -> Result<PixelScale> {
        let channels = train.shape()[0] as usize;
        let statistics =
            |mean: &[f64], std: &[f64]| PixelScale { max_value: 255.0, mean: mean.into(), std: std.into() };
        Ok(match (config.normalize, config.name) {
            (Normalize::Unit | Normalize::Dataset, DataName::Digits) => PixelScale::unit(16.0, channels),
            (Normalize::Unit, _) => PixelScale::unit(255.0, channels),
            (Normalize::Imagenet, name) => {
                ensure!(channels == 3, "data.normalize = \"imagenet\" needs RGB images, but those of {name} are gray");
                statistics(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225])
            }
            (Normalize::Dataset, DataName::Mnist) => statistics(&[0.1307], &[0.3081]),
            (Normalize::Dataset, DataName::FashionMnist) => statistics(&[0.2860], &[0.3530]),
            (Normalize::Dataset, DataName::Cifar10) => statistics(&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010]),
            (Normalize::Dataset, DataName::Cifar100) => {
                statistics(&[0.5071, 0.4865, 0.4409], &[0.2673, 0.2564, 0.2762])
            }
            (Normalize::Dataset, DataName::Folder | DataName::List) => PixelScale::measured(train),
        })
    }

    /// Mean and standard deviation of these images, exact because they come from the counts of the 256 values. A channel
    /// without any variation gets std 1.
    fn measured(images: &Images) -> PixelScale {
        let mut scale = PixelScale { max_value: 255.0, mean: Vec::new(), std: Vec::new() };
        for channel in 0..images.shape()[0] {
            let counts = images.pixels.select(1, channel).reshape([-1]).bincount(None::<Tensor>, 256);
            let counts = Vec::<i64>::try_from(counts).expect("256 counts on the host");
            let moment = |power: i32| -> f64 {
                let sum: f64 = counts.iter().enumerate().map(|(v, &n)| n as f64 * (v as f64 / 255.0).powi(power)).sum();
                sum / counts.iter().sum::<i64>() as f64
            };
            let (mean, variance) = (moment(1), moment(2) - moment(1).powi(2));
            scale.mean.push(mean);
            scale.std.push(if variance > 1e-12 { variance.sqrt() } else { 1.0 });
        }
        scale
    }

    /// The same numbers as tensors on `device`.
    pub(super) fn on(&self, device: Device) -> DeviceScale {
        let per_channel = |value: fn(f64, f64, f64) -> f64| {
            let values: Vec<f64> =
                self.mean.iter().zip(&self.std).map(|(m, s)| value(self.max_value, *m, *s)).collect();
            Tensor::from_slice(&values).to_kind(Kind::Float).to_device(device).view([-1, 1, 1])
        };
        DeviceScale {
            factor: per_channel(|max, _, std| 1.0 / (max * std)),
            shift: per_channel(|_, mean, std| -mean / std),
        }
    }
}

/// x = shift + factor * pixel, both float `[C, 1, 1]`.
pub(super) struct DeviceScale {
    factor: Tensor,
    shift: Tensor,
}

impl DeviceScale {
    /// uint8 `[B, C, H, W]` to float of the same shape.
    pub fn normalize(&self, pixels: &Tensor) -> Tensor {
        self.shift.addcmul(&pixels.to_kind(Kind::Float), &self.factor)
    }

    pub fn shallow_clone(&self) -> DeviceScale {
        DeviceScale { factor: self.factor.shallow_clone(), shift: self.shift.shallow_clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(pixels: &[u8], shape: [i64; 3]) -> Images {
        let n = pixels.len() / shape.iter().product::<i64>() as usize;
        Images::new(pixels, shape, &vec![0; n], vec!["a".into()], "test").unwrap()
    }

    #[test]
    fn normalization_is_that_of_torchvision() {
        let config = DataConfig { name: DataName::Cifar10, ..Default::default() };
        let images = images(&[0, 51, 102, 153, 204, 255], [3, 1, 2]);
        let x = PixelScale::of(&config, &images).unwrap().on(Device::Cpu).normalize(&images.pixels);
        let x = Vec::<f64>::try_from(x.view(-1).to_kind(Kind::Double)).unwrap();
        let by_hand = [
            (0.0 - 0.4914) / 0.2023,
            (0.2 - 0.4914) / 0.2023,
            (0.4 - 0.4822) / 0.1994,
            (0.6 - 0.4822) / 0.1994,
            (0.8 - 0.4465) / 0.2010,
            (1.0 - 0.4465) / 0.2010,
        ];
        assert!(x.iter().zip(by_hand).all(|(a, b)| (a - b).abs() < 1e-6), "{x:?}");
    }

    #[test]
    fn a_folder_is_measured() {
        let config = DataConfig { name: DataName::Folder, ..Default::default() };
        let scale = PixelScale::of(&config, &images(&[0, 255, 7, 7], [2, 1, 2])).unwrap();
        assert!((scale.mean[0] - 0.5).abs() < 1e-12 && (scale.std[0] - 0.5).abs() < 1e-12);
        assert!((scale.mean[1] - 7.0 / 255.0).abs() < 1e-12 && scale.std[1] == 1.0);
    }

    #[test]
    fn imagenet_statistics_need_three_channels() {
        let config = DataConfig { name: DataName::Mnist, normalize: Normalize::Imagenet, ..Default::default() };
        assert!(PixelScale::of(&config, &images(&[1], [1, 1, 1])).unwrap_err().to_string().contains("mnist are gray"));
    }
}
