//! Domains made from one data set: a fixed change of the pixels per task, the same for training and test images.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use crate::rng;

/// What a domain does to images `[N, C, H, W]` of uint8.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// Nothing.
    Natural,
    /// One permutation of the H W positions, the same for all images and channels: a pure function of the seed and the
    /// domain.
    Permute { seed: u64, domain: usize },
    /// A turn about the centre, counter-clockwise on the screen. Multiples of 90 degrees are exact; other angles are
    /// bilinear, rounded to whole values, and what comes from outside the image is 0.
    Rotate { degrees: f64 },
}

impl Transform {
    /// The domains of a permuted stream: every task has its own permutation, the first one too.
    pub fn permutations(seed: u64, tasks: usize) -> Vec<Transform> {
        (0..tasks).map(|domain| Transform::Permute { seed, domain }).collect()
    }

    /// The domains of a rotated stream, one a given angle in degrees.
    pub fn rotations(degrees: &[f64]) -> Vec<Transform> {
        degrees.iter().map(|&degrees| Transform::Rotate { degrees }).collect()
    }

    /// The images of this domain: the shape and device of `pixels`. Turning images that are not square by an odd
    /// multiple of 90 degrees is an error, as is an angle that is not finite.
    pub fn apply(&self, pixels: &Tensor) -> Result<Tensor> {
        match *self {
            Transform::Natural => Ok(pixels.shallow_clone()),
            Transform::Permute { seed, domain } => permute(pixels, seed, domain),
            Transform::Rotate { degrees } => rotate(pixels, degrees),
        }
    }
}

fn permute(pixels: &Tensor, seed: u64, domain: usize) -> Result<Tensor> {
    let (_, _, height, width) = pixels.size4()?;
    let order = rng::permutation(seed, &format!("pixel permutation {domain}"), (height * width) as usize);
    let order = Tensor::from_slice(&order).to_device(pixels.device());
    Ok(pixels.flatten(2, 3).index_select(2, &order).view_as(pixels))
}

fn rotate(pixels: &Tensor, degrees: f64) -> Result<Tensor> {
    let (_, _, height, width) = pixels.size4()?;
    ensure!(degrees.is_finite(), "a rotation angle must be a number of degrees, got {degrees}");
    let quarters = degrees / 90.0;
    if quarters.fract() == 0.0 {
        let quarters = quarters.rem_euclid(4.0) as i64;
        ensure!(
            quarters % 2 == 0 || height == width,
            "only square images can be turned by {degrees} degrees, these have {height} x {width} pixels"
        );
        return Ok(pixels.rot90(quarters, [2, 3]));
    }
    // The map from output to input positions, in the units of grid_sample where the image spans [-1, 1] both ways.
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (height_per_width, width_per_height) = (height as f64 / width as f64, width as f64 / height as f64);
    let map = [cos, -sin * height_per_width, 0.0, sin * width_per_height, cos, 0.0];
    let map = Tensor::from_slice(&map).view([1, 2, 3]).to_kind(Kind::Float).to_device(pixels.device());
    let turn = |pixels: &Tensor| {
        // Every image turns alike: as channels of one image they share one grid.
        let stacked = pixels.reshape([1, -1, height, width]).to_kind(Kind::Float);
        let grid = Tensor::affine_grid_generator(&map, stacked.size().as_slice(), false);
        let (bilinear, zeros) = (0, 0);
        let turned = stacked.grid_sampler(&grid, bilinear, zeros, false);
        turned.round().clamp(0.0, 255.0).to_kind(pixels.kind()).view_as(pixels)
    };
    // In pieces: the floats of a whole data set at once would be many times its bytes.
    Ok(Tensor::cat(&pixels.split(4096, 0).iter().map(turn).collect::<Vec<_>>(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn images(height: i64, width: i64) -> Tensor {
        Tensor::randint(256, [3, 2, height, width], (Kind::Uint8, Device::Cpu))
    }

    fn rotated(pixels: &Tensor, degrees: f64) -> Tensor {
        Transform::Rotate { degrees }.apply(pixels).unwrap()
    }

    #[test]
    fn quarter_turns_are_exact_and_counter_clockwise() {
        let pixels = Tensor::from_slice(&[1u8, 2, 3, 4]).view([1, 1, 2, 2]);
        assert_eq!(rotated(&pixels, 90.0).flatten(0, 3), Tensor::from_slice(&[2u8, 4, 1, 3]));
        assert_eq!(rotated(&pixels, -90.0), rotated(&pixels, 270.0));
        let pixels = images(5, 5);
        assert_eq!(rotated(&rotated(&pixels, 450.0), 270.0), pixels);
        assert!(Transform::Rotate { degrees: 90.0 }.apply(&images(4, 5)).is_err());
        assert_eq!(rotated(&images(4, 5), 180.0).size(), [3, 2, 4, 5]);
    }

    #[test]
    fn bilinear_turns_agree_with_the_exact_ones() {
        let near =
            |a: &Tensor, b: &Tensor| (a.to_kind(Kind::Int) - b.to_kind(Kind::Int)).abs().max().int64_value(&[]) <= 1;
        let pixels = images(7, 7);
        assert!(near(&rotated(&pixels, 90.0001), &rotated(&pixels, 90.0)));
        let wide = images(6, 9);
        assert!(near(&rotated(&wide, 179.9999), &rotated(&wide, 180.0)));
        // A lone pixel 3 right of the centre of a wide image ends 3 above it, whatever the aspect.
        let lone = Tensor::zeros([1, 1, 7, 11], (Kind::Uint8, Device::Cpu));
        let _ = lone.narrow(2, 3, 1).narrow(3, 8, 1).fill_(200);
        let up = rotated(&lone, 89.9999);
        assert!((199..=200).contains(&up.int64_value(&[0, 0, 0, 5])), "{up}");
    }

    #[test]
    fn a_permutation_moves_positions_alike_in_all_images_and_repeats() {
        let pixels = Tensor::arange(12, (Kind::Uint8, Device::Cpu)).view([1, 1, 3, 4]).repeat([2, 2, 1, 1]);
        let domains = Transform::permutations(7, 2);
        let first = domains[0].apply(&pixels).unwrap();
        assert_eq!(first, domains[0].apply(&pixels).unwrap());
        assert_ne!(first, domains[1].apply(&pixels).unwrap());
        assert_eq!(first.get(0).get(0), first.get(1).get(1));
        assert_eq!(first.get(0).get(0).flatten(0, 1).sort(0, false).0, pixels.get(0).get(0).flatten(0, 1));
    }
}
