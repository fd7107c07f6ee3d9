//! A set where the network is.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::augment::Augmenter;
use super::scale::DeviceScale;
use super::{Augment, Images, PixelScale};

/// Up to this many bytes a set that is not augmented is kept normalized.
const READY_BYTES: i64 = 256 << 20;

/// What a step gets: inputs float `[B, ...]` (or token ids int64 `[B, T]`), labels int64 `[B]` (or `[B, T]`), and the rows int64 `[B]` in the set they came from.
pub struct Batch {
    pub x: Tensor,
    pub y: Tensor,
    pub index: Tensor,
    /// Soft labels float `[B, classes]` that stand in for `y` in the loss (mixup).
    pub soft: Option<Tensor>,
}

/// Labelled samples on a device. Taking a batch costs a few kernels there and reads nothing back.
pub struct DeviceSet {
    samples: Samples,
    labels: Tensor,
    /// 0..len, int64.
    rows: Tensor,
    sample_shape: Vec<i64>,
    classes: Vec<String>,
}

enum Samples {
    /// float `[N, ...]`, normalized: a batch is one `index_select`.
    Ready(Tensor),
    /// uint8 `[N, C, H, W]`, normalized when it is taken.
    Pixels(Tensor, DeviceScale),
    /// uint8 with the border crops reach into, changed and normalized when it is taken.
    Augmented(Tensor, DeviceScale, Augmenter),
}

impl DeviceSet {
    /// Images with their normalization. With `augment` on, [`DeviceSet::gather`] changes them anew each time.
    pub fn new(images: &Images, scale: &PixelScale, augment: &Augment, device: Device) -> Result<DeviceSet> {
        let shape = images.shape();
        augment.check(shape)?;
        let (pixels, scale) = (images.pixels.to_device(device), scale.on(device));
        let samples = if !augment.is_off() {
            let augmenter = Augmenter::new(augment, shape, device);
            Samples::Augmented(augmenter.pad(&pixels), scale, augmenter)
        } else if 4 * pixels.numel() as i64 <= READY_BYTES {
            Samples::Ready(scale.normalize(&pixels))
        } else {
            Samples::Pixels(pixels, scale)
        };
        let labels = images.labels.to_device(device);
        Ok(DeviceSet {
            samples,
            rows: rows(&labels),
            labels,
            sample_shape: shape.into(),
            classes: images.classes.clone(),
        })
    }

    /// Samples that need no normalization: float `[N, ...]` of any shape, labels int64 `[N]`, both on the device they are to
    /// stay on.
    pub fn from_tensors(x: Tensor, labels: Tensor, classes: Vec<String>) -> Result<DeviceSet> {
        ensure!(
            x.dim() > 1 && x.kind() == Kind::Float,
            "samples must be float [N, ...], not {:?} {:?}",
            x.kind(),
            x.size()
        );
        check_labels(&labels, x.size()[0], classes.len())?;
        let sample_shape = x.size()[1..].to_vec();
        Ok(DeviceSet { samples: Samples::Ready(x), rows: rows(&labels), labels, sample_shape, classes })
    }

    /// Rows of token ids int64 `[N, T]`. Labels, int64, are a class for each row `[N]` or a token for each position `[N, T]`
    /// (-100: none). Both are on the device they are to stay on.
    pub fn tokens(ids: Tensor, labels: Tensor, classes: Vec<String>) -> Result<DeviceSet> {
        let (shape, given) = (ids.size(), labels.size());
        ensure!(
            shape.len() == 2 && ids.kind() == Kind::Int64,
            "token ids must be int64 [N, T], not {:?} {shape:?}",
            ids.kind()
        );
        ensure!(
            (given == shape || given == shape[..1]) && labels.kind() == Kind::Int64,
            "labels must be int64 {:?} or {shape:?}, not {:?} {given:?}",
            &shape[..1],
            labels.kind()
        );
        let classes_count = classes.len() as i64;
        let known = labels.ge(0).logical_and(&labels.lt(classes_count)).logical_or(&labels.eq(-100));
        ensure!(known.all().int64_value(&[]) != 0, "labels must be in 0..{classes_count}, the number of classes");
        Ok(DeviceSet {
            samples: Samples::Ready(ids),
            rows: rows(&labels),
            labels,
            sample_shape: shape[1..].to_vec(),
            classes,
        })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one sample: channels, height, width for images.
    pub fn sample_shape(&self) -> &[i64] {
        &self.sample_shape
    }

    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// int64 `[N]`, or `[N, T]` of token labels, on the device.
    pub fn labels(&self) -> &Tensor {
        &self.labels
    }

    pub fn device(&self) -> Device {
        self.labels.device()
    }

    /// A training batch: the samples `index` (int64 `[B]`, on the set's device), augmented if the set is.
    pub fn gather(&self, index: &Tensor) -> Batch {
        let x = match &self.samples {
            Samples::Ready(x) => x.index_select(0, index),
            Samples::Pixels(pixels, scale) => scale.normalize(&pixels.index_select(0, index)),
            Samples::Augmented(pixels, scale, augmenter) => {
                augmenter.cut(scale.normalize(&augmenter.gather(pixels, index)))
            }
        };
        Batch { x, y: self.labels.index_select(0, index), index: index.shallow_clone(), soft: None }
    }

    /// The samples first..first + len as they are, never augmented. Copies nothing when the set is kept normalized.
    pub fn slice(&self, first: usize, len: usize) -> Batch {
        let part = |tensor: &Tensor| tensor.narrow(0, first as i64, len as i64);
        let x = match &self.samples {
            Samples::Ready(x) => part(x),
            Samples::Pixels(pixels, scale) => scale.normalize(&part(pixels)),
            Samples::Augmented(pixels, scale, augmenter) => scale.normalize(&augmenter.unpad(&part(pixels))),
        };
        Batch { x, y: part(&self.labels), index: part(&self.rows), soft: None }
    }

    /// The whole set in order, for evaluation: [`DeviceSet::slice`]s of `size`, the last one may be smaller.
    pub fn batches(&self, size: usize) -> impl Iterator<Item = Batch> {
        let len = self.len();
        (0..len).step_by(size.max(1)).map(move |first| self.slice(first, size.max(1).min(len - first)))
    }

    /// The same samples with other labels (int64 `[N]`, each the number of a class): label noise, new tasks.
    pub fn with_labels(&self, labels: &Tensor) -> Result<DeviceSet> {
        check_labels(labels, self.len() as i64, self.classes.len())?;
        Ok(self.map(|tensor| tensor.shallow_clone(), labels.to_device(self.device())))
    }

    /// The samples `index` (int64 `[M]`, on the set's device) as a set of their own.
    pub fn subset(&self, index: &Tensor) -> DeviceSet {
        self.map(|tensor| tensor.index_select(0, index), self.labels.index_select(0, index))
    }

    fn map(&self, samples: impl Fn(&Tensor) -> Tensor, labels: Tensor) -> DeviceSet {
        let samples = match &self.samples {
            Samples::Ready(x) => Samples::Ready(samples(x)),
            Samples::Pixels(pixels, scale) => Samples::Pixels(samples(pixels), scale.shallow_clone()),
            Samples::Augmented(pixels, scale, augmenter) => {
                Samples::Augmented(samples(pixels), scale.shallow_clone(), augmenter.shallow_clone())
            }
        };
        DeviceSet {
            samples,
            rows: rows(&labels),
            labels,
            sample_shape: self.sample_shape.clone(),
            classes: self.classes.clone(),
        }
    }
}

/// 0..N for labels `[N, ..]`, on their device.
fn rows(labels: &Tensor) -> Tensor {
    Tensor::arange(labels.size()[0], (Kind::Int64, labels.device()))
}

fn check_labels(labels: &Tensor, n: i64, classes: usize) -> Result<()> {
    ensure!(
        labels.size() == [n] && labels.kind() == Kind::Int64,
        "labels must be int64 [{n}], not {:?} {:?}",
        labels.kind(),
        labels.size()
    );
    let outside = labels.lt(0).logical_or(&labels.ge(classes as i64)).any().int64_value(&[]) != 0;
    ensure!(!outside, "labels must be in 0..{classes}, the number of classes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        let pixels: Vec<u8> = (0..24).collect();
        Images::new(&pixels, [1, 2, 2], &[0, 1, 2, 0, 1, 2], vec!["a".into(), "b".into(), "c".into()], "test").unwrap()
    }

    fn set(augment: Augment) -> DeviceSet {
        DeviceSet::new(&images(), &PixelScale::unit(4.0, 1), &augment, Device::Cpu).unwrap()
    }

    /// The same set as it is kept when it is too large to be kept normalized.
    fn large() -> DeviceSet {
        let mut set = set(Augment::default());
        set.samples = Samples::Pixels(images().pixels, PixelScale::unit(4.0, 1).on(Device::Cpu));
        set
    }

    fn floats(x: &Tensor) -> Vec<f32> {
        Vec::<f32>::try_from(x.contiguous().view(-1)).unwrap()
    }

    fn whole(x: &Tensor) -> Vec<i64> {
        Vec::<i64>::try_from(x).unwrap()
    }

    #[test]
    fn batches_are_normalized_rows_with_their_labels() {
        for set in [set(Augment::default()), large()] {
            let batch = set.gather(&Tensor::from_slice(&[5i64, 0]));
            assert_eq!(batch.x.size(), [2, 1, 2, 2]);
            assert_eq!(floats(&batch.x), [5.0, 5.25, 5.5, 5.75, 0.0, 0.25, 0.5, 0.75]);
            assert_eq!((whole(&batch.y), whole(&batch.index)), (vec![2, 0], vec![5, 0]));
        }
    }

    #[test]
    fn evaluation_sees_every_sample_once_and_unchanged() {
        let all: Vec<f32> = (0..24).map(|v| v as f32 / 4.0).collect();
        for set in [set(Augment::default()), large(), set(Augment { pad_crop: 1, flip: true, cutout: 1 })] {
            let batches: Vec<Batch> = set.batches(4).collect();
            assert_eq!(batches.iter().map(|b| b.y.size()[0]).collect::<Vec<_>>(), [4, 2]);
            assert_eq!(batches.iter().flat_map(|b| floats(&b.x)).collect::<Vec<_>>(), all);
            assert_eq!(batches.iter().flat_map(|b| whole(&b.index)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn cutout_works_on_normalized_values() {
        let scale = PixelScale { max_value: 4.0, mean: vec![50.0], std: vec![1.0] };
        let augment = Augment { cutout: 1, ..Default::default() };
        let set = DeviceSet::new(&images(), &scale, &augment, Device::Cpu).unwrap();
        let x = set.gather(&Tensor::from_slice(&[0i64, 1, 2])).x;
        // Without the cut no value is 0: the mean lies above all pixels.
        assert_eq!(x.eq(0.0).sum_dim_intlist(&[1i64, 2, 3][..], false, Kind::Int64), Tensor::from_slice(&[1i64, 1, 1]));
    }

    #[test]
    fn labels_can_be_replaced() {
        for set in [set(Augment::default()), large(), set(Augment { flip: true, ..Default::default() })] {
            let noisy = set.with_labels(&Tensor::from_slice(&[2i64; 6])).unwrap();
            assert_eq!(whole(&noisy.slice(0, 6).y), [2; 6]);
            assert_eq!(whole(set.labels()), [0, 1, 2, 0, 1, 2]);
        }
        let refused =
            |labels: &Tensor| set(Augment::default()).with_labels(labels).map(|_| ()).unwrap_err().to_string();
        assert!(refused(&Tensor::from_slice(&[0i64; 5])).contains("int64 [6]"));
        assert!(refused(&Tensor::from_slice(&[0i32; 6])).contains("int64 [6]"));
        assert!(refused(&Tensor::from_slice(&[0i64, 1, 2, 3, 0, 0])).contains("0..3"));
        assert!(refused(&Tensor::from_slice(&[0i64, 1, 2, -1, 0, 0])).contains("0..3"));
    }

    #[test]
    fn a_subset_is_a_set() {
        for set in [set(Augment::default()), large(), set(Augment { pad_crop: 1, ..Default::default() })] {
            let subset = set.subset(&Tensor::from_slice(&[4i64, 2]));
            let batch = subset.slice(0, 2);
            assert_eq!((subset.len(), whole(&batch.y), whole(&batch.index)), (2, vec![1, 2], vec![0, 1]));
            assert_eq!(floats(&batch.x)[..4], [4.0, 4.25, 4.5, 4.75]);
            assert_eq!(subset.gather(&Tensor::from_slice(&[1i64])).x.size(), [1, 1, 2, 2]);
        }
    }

    #[test]
    fn tensors_of_any_shape_make_a_set() {
        let x = Tensor::ones([2, 5], (Kind::Float, Device::Cpu));
        let set = DeviceSet::from_tensors(x, Tensor::from_slice(&[0i64, 0]), vec!["only".into()]).unwrap();
        assert_eq!((set.sample_shape(), set.len()), (&[5i64][..], 2));
        let x = Tensor::ones([2, 5], (Kind::Double, Device::Cpu));
        assert!(DeviceSet::from_tensors(x, Tensor::from_slice(&[0i64, 0]), vec!["only".into()]).is_err());
    }

    #[test]
    fn augmentation_that_does_not_fit_is_refused() {
        let augment = Augment { pad_crop: 3, ..Default::default() };
        let refused =
            DeviceSet::new(&images(), &PixelScale::unit(4.0, 1), &augment, Device::Cpu).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("data.augment.pad_crop = 3"));
    }
}
