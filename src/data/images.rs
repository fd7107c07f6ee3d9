//! Labelled images on the host.

use anyhow::{Result, bail, ensure};
use tch::{Kind, Tensor};

/// Images as they are in their files.
pub struct Images {
    /// uint8 `[N, C, H, W]`.
    pub pixels: Tensor,
    /// int64 `[N]`, each in 0..classes.
    pub labels: Tensor,
    pub classes: Vec<String>,
}

impl Images {
    /// Puts bytes in the order N, C, H, W and their labels together. `origin` (a file's path) opens the error message when
    /// there are no images or a label is not the number of a class.
    pub fn new(
        pixels: &[u8],
        shape: [i64; 3],
        labels: &[i64],
        classes: Vec<String>,
        origin: impl std::fmt::Display,
    ) -> Result<Images> {
        ensure!(!labels.is_empty(), "{origin} holds no images");
        let last = classes.len() as i64 - 1;
        if let Some(at) = labels.iter().position(|label| !(0..=last).contains(label)) {
            bail!("{origin}: label {at} is {}, but the classes are numbered 0..={last}", labels[at]);
        }
        let [c, h, w] = shape;
        Ok(Images {
            pixels: Tensor::from_data_size(pixels, &[labels.len() as i64, c, h, w], Kind::Uint8),
            labels: Tensor::from_slice(labels),
            classes,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.size()[0] as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [i64; 3] {
        let size = self.pixels.size();
        [size[1], size[2], size[3]]
    }

    /// The images at `rows` (each in 0..len), in that order.
    pub fn select(&self, rows: &[i64]) -> Images {
        let rows = Tensor::from_slice(rows);
        Images {
            pixels: self.pixels.index_select(0, &rows),
            labels: self.labels.index_select(0, &rows),
            classes: self.classes.clone(),
        }
    }
}
