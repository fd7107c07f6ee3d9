//! Gray photographs for denoising: the image files of one folder, all brought to one size.

use anyhow::{Context, Result, ensure};
use image::ImageReader;
use image::imageops::FilterType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

use super::folder::{entries, is_image};

/// How an image becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Its middle, pixel for pixel.
    #[default]
    Crop,
    /// The largest square in its middle, scaled.
    Resize,
}

/// The first `count` images (0: all) of a folder in the order of their names, as luminance in [0, 1]: float64
/// [N, `side`, `side`]. `field` opens the error messages: the field of the configuration that named the folder.
pub fn read_gray(field: &str, folder: &Path, count: usize, side: u32, fit: Fit) -> Result<Tensor> {
    ensure!(
        folder.is_dir(),
        "{field}: there is no folder {} (a relative path starts in the data root); it should hold jpg, png or webp images",
        folder.display()
    );
    let files: Vec<PathBuf> = entries(folder)?.into_iter().filter(|file| is_image(file)).collect();
    let wanted = if count == 0 { files.len() } else { count };
    ensure!(
        wanted > 0 && wanted <= files.len(),
        "{field}: {} holds {} jpg, png or webp images, {} are wanted",
        folder.display(),
        files.len(),
        wanted.max(1)
    );
    let images: Vec<Tensor> = files[..wanted].iter().map(|file| square(file, side, fit)).collect::<Result<_>>()?;
    Ok(Tensor::stack(&images, 0))
}

fn square(path: &Path, side: u32, fit: Fit) -> Result<Tensor> {
    let opened = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let decoded = opened.with_context(|| format!("cannot read {}", path.display()))?.decode();
    let image = decoded.with_context(|| format!("{} is not a readable image", path.display()))?;
    let (width, height) = (image.width(), image.height());
    let image = match fit {
        Fit::Resize => image.resize_to_fill(side, side, FilterType::Triangle),
        Fit::Crop => {
            ensure!(
                width >= side && height >= side,
                "{} is {width}x{height}: no square of {side} pixels can be cut out of it",
                path.display()
            );
            image.crop_imm((width - side) / 2, (height - side) / 2, side, side)
        }
    };
    let shape = [i64::from(side), i64::from(side)];
    Ok(Tensor::from_data_size(image.to_luma8().as_raw(), &shape, Kind::Uint8).to_kind(Kind::Double) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma};
    use tempfile::TempDir;

    #[test]
    fn the_middle_of_the_first_images_is_read() {
        let folder = TempDir::new().unwrap();
        let save = |name: &str, image: GrayImage| image.save(folder.path().join(name)).unwrap();
        save("a.png", GrayImage::from_fn(4, 2, |x, _| Luma([51 * x as u8])));
        save("b.png", GrayImage::from_pixel(2, 2, Luma([255])));
        let read = |count, side, fit| read_gray("images.folder", folder.path(), count, side, fit);
        let images = read(2, 2, Fit::Crop).unwrap();
        assert_eq!(images.size(), [2, 2, 2]);
        let first = Vec::<f64>::try_from(images.get(0).reshape([-1])).unwrap();
        assert_eq!(first, [0.2, 0.4, 0.2, 0.4]);
        assert_eq!(read(0, 3, Fit::Resize).unwrap().size(), [2, 3, 3]);
        assert!(read(3, 2, Fit::Crop).unwrap_err().to_string().contains("2 jpg, png or webp images, 3 are wanted"));
        assert!(read(2, 3, Fit::Crop).unwrap_err().to_string().contains("a.png is 4x2"));
        let nowhere = read_gray("images.folder", &folder.path().join("kodak"), 0, 2, Fit::Crop).unwrap_err();
        assert!(nowhere.to_string().starts_with("images.folder: there is no folder"), "{nowhere}");
    }
}
