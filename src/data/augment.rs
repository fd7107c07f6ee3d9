//! Random changes of training images, on the device: a whole batch in a handful of kernels, static shapes, nothing read back.
//!
//! Random numbers come from the device's default generator, which the training loop reseeds at every step.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// What is changed, in this order. All off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Pixels of black border added on each side before a crop of the old size is taken at a random place; from 0 (off, the
    /// default) to the images' shorter side. Usual: 4 for 32x32 images.
    #[schemars(range(min = 0, max = 1024))]
    pub pad_crop: u32,
    /// Mirrors left and right with probability 1/2. Default false.
    pub flip: bool,
    /// Side in pixels of a square around a random pixel that is set to the mean after normalization, parts outside the image
    /// ignored (DeVries & Taylor 2017); from 0 (off, the default) to the images' shorter side. Usual: 16 for CIFAR-10.
    #[schemars(range(min = 0, max = 1024))]
    pub cutout: u32,
}

impl Augment {
    pub fn is_off(&self) -> bool {
        *self == Augment::default()
    }

    /// Whether the sizes suit images of `shape` (channels, height, width).
    pub fn check(&self, [_, h, w]: [i64; 3]) -> Result<()> {
        for (field, size) in [("pad_crop", self.pad_crop), ("cutout", self.cutout)] {
            ensure!(
                i64::from(size) <= h.min(w),
                "data.augment.{field} = {size}, but images are {h}x{w}: at most {}",
                h.min(w)
            );
        }
        Ok(())
    }
}

/// Crops, mirrors and cuts batches of images of one shape. Holds the constants of that on the device.
pub(super) struct Augmenter {
    augment: Augment,
    /// Channels, height, width of an image, and of an image with the border crops reach into.
    shape: [i64; 3],
    padded: [i64; 3],
    /// int64 `[1, C, H, W]`: where each value of a crop lies in a padded image, seen from the crop's first value.
    upright: Tensor,
    /// The same for a mirrored crop.
    mirrored: Tensor,
    /// bool `[H, H]` and `[W, W]`: which rows and columns are cut when row or column i is the centre.
    cut_rows: Tensor,
    cut_columns: Tensor,
}

impl Augmenter {
    pub fn new(augment: &Augment, shape: [i64; 3], device: Device) -> Augmenter {
        let [c, h, w] = shape;
        let border = 2 * i64::from(augment.pad_crop);
        let padded = [c, h + border, w + border];
        let count = |n| Tensor::arange(n, (Kind::Int64, device));
        let lines = count(c).view([1, c, 1, 1]) * (padded[1] * padded[2]) + count(h).view([h, 1]) * padded[2];
        Augmenter {
            augment: augment.clone(),
            shape,
            padded,
            upright: &lines + count(w),
            mirrored: &lines + count(w).flip([0]),
            cut_rows: covered(h, augment.cutout, device),
            cut_columns: covered(w, augment.cutout, device),
        }
    }

    pub fn shallow_clone(&self) -> Augmenter {
        Augmenter {
            augment: self.augment.clone(),
            upright: self.upright.shallow_clone(),
            mirrored: self.mirrored.shallow_clone(),
            cut_rows: self.cut_rows.shallow_clone(),
            cut_columns: self.cut_columns.shallow_clone(),
            ..*self
        }
    }

    /// The images with their border.
    pub fn pad(&self, pixels: &Tensor) -> Tensor {
        let pad = i64::from(self.augment.pad_crop);
        if pad == 0 { pixels.shallow_clone() } else { pixels.constant_pad_nd([pad; 4]) }
    }

    /// The images inside their border.
    pub fn unpad(&self, padded: &Tensor) -> Tensor {
        let (pad, [_, h, w]) = (i64::from(self.augment.pad_crop), self.shape);
        padded.narrow(2, pad, h).narrow(3, pad, w)
    }

    /// Randomly cropped and mirrored: images `index` (int64 `[B]`) of the padded uint8 images, `[B, C, H, W]`.
    pub fn gather(&self, padded: &Tensor, index: &Tensor) -> Tensor {
        let (pad, batch, device) = (i64::from(self.augment.pad_crop), index.size()[0], index.device());
        let offsets = (pad > 0).then(|| Tensor::randint(2 * pad + 1, [2, batch], (Kind::Int64, device)));
        let mirror = self.augment.flip.then(|| Tensor::randint(2, [batch], (Kind::Bool, device)));
        if offsets.is_none() && mirror.is_none() {
            return padded.index_select(0, index);
        }
        self.crop(padded, index, offsets.as_ref(), mirror.as_ref())
    }

    /// `offsets` int64 `[2, B]`: the crops' first rows and columns in the padded images. `mirror` bool `[B]`.
    fn crop(&self, padded: &Tensor, index: &Tensor, offsets: Option<&Tensor>, mirror: Option<&Tensor>) -> Tensor {
        let [c, h, w] = self.padded;
        let mut first = index * (c * h * w);
        if let Some(offsets) = offsets {
            first = first + offsets.get(0) * w + offsets.get(1);
        }
        let within = match mirror {
            Some(mirror) => self.mirrored.where_self(&mirror.view([-1, 1, 1, 1]), &self.upright),
            None => self.upright.shallow_clone(),
        };
        padded.take(&(first.view([-1, 1, 1, 1]) + within))
    }

    /// Sets a random square of each normalized image `[B, C, H, W]` to zero, in place.
    pub fn cut(&self, x: Tensor) -> Tensor {
        if self.augment.cutout == 0 {
            return x;
        }
        let (batch, [_, h, w]) = (x.size()[0], self.shape);
        let draw = |below| Tensor::randint(below, [batch], (Kind::Int64, x.device()));
        self.cut_at(x.shallow_clone(), &draw(h), &draw(w))
    }

    /// `row` and `column` int64 `[B]`: the centres.
    fn cut_at(&self, mut x: Tensor, row: &Tensor, column: &Tensor) -> Tensor {
        let rows = self.cut_rows.index_select(0, row).unsqueeze(2);
        let columns = self.cut_columns.index_select(0, column).unsqueeze(1);
        x.masked_fill_(&rows.logical_and(&columns).unsqueeze(1), 0.0)
    }
}

/// bool `[n, n]`: whether a cut of this side around line i covers line j, i - side/2 <= j < i - side/2 + side.
fn covered(n: i64, side: u32, device: Device) -> Tensor {
    let (lines, side) = (Tensor::arange(n, (Kind::Int64, device)), i64::from(side));
    let from_start = &lines - lines.view([n, 1]) + side / 2;
    from_start.ge(0).logical_and(&from_start.lt(side))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [i64; 3] = [2, 3, 4];

    fn augmenter(pad_crop: u32, flip: bool, cutout: u32) -> Augmenter {
        Augmenter::new(&Augment { pad_crop, flip, cutout }, SHAPE, Device::Cpu)
    }

    /// Five images whose values tell image, channel and place apart (1..=120, so that 0 is border).
    fn pixels() -> Tensor {
        Tensor::arange_start(1, 121, (Kind::Uint8, Device::Cpu)).view([5, 2, 3, 4])
    }

    /// The definition, value by value.
    fn crop_by_hand(image: &Tensor, pad: i64, top: i64, left: i64, mirror: bool) -> Vec<u8> {
        let [c, h, w] = SHAPE;
        let mut values = Vec::new();
        for channel in 0..c {
            for y in 0..h {
                for x in 0..w {
                    let (from_y, from_x) = (y + top - pad, (if mirror { w - 1 - x } else { x }) + left - pad);
                    let inside = (0..h).contains(&from_y) && (0..w).contains(&from_x);
                    values.push(if inside { image.int64_value(&[channel, from_y, from_x]) as u8 } else { 0 });
                }
            }
        }
        values
    }

    fn bytes(image: &Tensor) -> Vec<u8> {
        Vec::<u8>::try_from(image.contiguous().view(-1)).unwrap()
    }

    #[test]
    fn crops_and_mirrors_are_those_of_the_definition() {
        let (augmenter, pixels) = (augmenter(2, true, 0), pixels());
        let (index, mirror) = ([4i64, 0, 0, 2], [true, false, true, false]);
        let offsets = [[0i64, 2, 4, 1], [4, 2, 3, 0]];
        let crops = augmenter.crop(
            &augmenter.pad(&pixels),
            &Tensor::from_slice(&index),
            Some(&Tensor::from_slice2(&offsets)),
            Some(&Tensor::from_slice(&mirror)),
        );
        for at in 0..4 {
            let (top, left) = (offsets[0][at], offsets[1][at]);
            let expected = crop_by_hand(&pixels.get(index[at]), 2, top, left, mirror[at]);
            assert_eq!(bytes(&crops.get(at as i64)), expected, "image {at}");
        }
        assert_eq!(bytes(&augmenter.unpad(&augmenter.pad(&pixels))), bytes(&pixels));
    }

    #[test]
    fn every_crop_is_drawn_and_no_other() {
        let (augmenter, pixels) = (augmenter(1, true, 0), pixels());
        let drawn = augmenter.gather(&augmenter.pad(&pixels), &Tensor::full([500], 3, (Kind::Int64, Device::Cpu)));
        let drawn: std::collections::BTreeSet<Vec<u8>> = (0..500).map(|at| bytes(&drawn.get(at))).collect();
        let possible = (0..18).map(|k| crop_by_hand(&pixels.get(3), 1, k / 6, k / 2 % 3, k % 2 == 1)).collect();
        assert_eq!(drawn, possible);
    }

    #[test]
    fn without_crop_and_mirror_images_stay_as_they_are() {
        let (augmenter, pixels) = (augmenter(0, false, 2), pixels());
        let same = augmenter.gather(&augmenter.pad(&pixels), &Tensor::from_slice(&[1i64, 0]));
        assert_eq!(bytes(&same), [bytes(&pixels.get(1)), bytes(&pixels.get(0))].concat());
    }

    #[test]
    fn squares_are_centred_and_cut_off_at_the_border() {
        let ones = Tensor::ones([3, 2, 3, 4], (Kind::Float, Device::Cpu));
        let centre = |values: [i64; 3]| Tensor::from_slice(&values);
        let cut = augmenter(0, false, 2).cut_at(ones.copy(), &centre([1, 0, 2]), &centre([1, 0, 3]));
        let plane = |at| Vec::<f32>::try_from(cut.get(at).get(1).view(-1)).unwrap();
        assert_eq!(plane(0), [0., 0., 1., 1., 0., 0., 1., 1., 1., 1., 1., 1.]);
        assert_eq!(plane(1), [0., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.]);
        assert_eq!(plane(2), [1., 1., 1., 1., 1., 1., 0., 0., 1., 1., 0., 0.]);
        let odd = augmenter(0, false, 3).cut_at(ones.copy(), &centre([1; 3]), &centre([1; 3]));
        assert_eq!(odd.get(0).get(0).sum(Kind::Float).double_value(&[]), 3.0);
    }

    #[test]
    fn sizes_larger_than_the_image_are_refused() {
        let refused = Augment { cutout: 4, ..Default::default() }.check(SHAPE).unwrap_err().to_string();
        assert_eq!(refused, "data.augment.cutout = 4, but images are 3x4: at most 3");
        assert!(Augment { pad_crop: 3, flip: true, cutout: 3 }.check(SHAPE).is_ok());
    }
}
