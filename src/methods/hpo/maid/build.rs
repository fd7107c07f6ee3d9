//! From the experiment file to a bilevel problem, and what its solutions are judged by.

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use serde_json::json;
use std::path::Path;
use tch::{Device, Kind, Tensor};

use super::config::{Config, ImageConfig, MOSAIC, Method, Problem, QuadraticConfig, UpperData};
use super::foe::FoeLower;
use super::logreg::{CrossEntropy, LogisticLower};
use super::quadratic::{Exact, QuadraticLower, QuadraticUpper, conditioned};
use super::tv::{SquaredError, TvLower, Variation};
use crate::bilevel::{Bilevel, Lower, Momentum, Solution, accelerated_gradient};
use crate::data::{self, DataName, Images, read_digits, read_gray};
use crate::rng;
use crate::run::Summary;

/// The constant before e^theta0 in tv and foe.
const FACTOR: f64 = 0.5;

/// A problem with its first point.
pub struct Task {
    pub problem: Bilevel,
    pub theta: Tensor,
    pub x: Tensor,
    judge: Judge,
}

/// What else than g is known of a solution.
enum Judge {
    Quadratic(Exact),
    /// Test features and labels.
    Classes(Tensor, Tensor),
    Images {
        train: Pair,
        test: Option<(Box<dyn Lower>, Pair)>,
    },
}

/// Images and their noisy versions, shaped as x.
struct Pair {
    clean: Tensor,
    noisy: Tensor,
}

impl Task {
    pub fn build(config: &Config, seed: u64, device: Device, root: &Path) -> Result<Task> {
        match config.method.problem {
            Problem::Quadratic => Ok(quadratic(&config.method, seed, device)),
            Problem::Logreg => logreg(config, device, root),
            Problem::Tv | Problem::Foe => denoising(config, seed, device, root),
        }
    }

    /// f(theta) and what else its solution x^(theta) is worth, from a solve to `method.judge.eps` that starts at `x`. Also
    /// the accuracy that solve reached.
    pub fn judge(&self, method: &Method, theta: &Tensor, x: &Tensor) -> Result<(Summary, f64)> {
        let solve = |lower: &dyn Lower, x: &Tensor| -> Result<Solution> {
            let curvature = lower.curvature(theta)?;
            let (grad, judge) = (|x: &Tensor| lower.grad_x(x, theta), &method.judge);
            Ok(accelerated_gradient(grad, x, curvature, judge.eps, judge.cap, Momentum::Accelerated))
        };
        let Solution { x, certificate, .. } = solve(&*self.problem.lower, x)?;
        let loss = self.problem.upper.value_and_grad(&x).0.double_value(&[]);
        let mut found = Summary::new();
        found.insert("upper_loss".into(), json!(loss));
        match &self.judge {
            Judge::Quadratic(exact) => {
                found.insert("gap".into(), json!(exact.gap(theta)));
            }
            Judge::Classes(a, labels) => {
                let right = a.matmul(&x).argmax(1, false).eq_tensor(labels).to_kind(Kind::Double);
                found.insert("val_loss".into(), json!(loss));
                found.insert("test_accuracy".into(), json!(right.mean(Kind::Double).double_value(&[])));
            }
            Judge::Images { train, test } => {
                found.insert("psnr".into(), json!(psnr(&x, &train.clean)));
                if let Some((lower, pair)) = test {
                    let solved = solve(&**lower, &pair.noisy)?;
                    found.insert("test_psnr".into(), json!(psnr(&solved.x, &pair.clean)));
                }
            }
        }
        Ok((found, certificate))
    }

    /// f(theta) - min f where it is known.
    pub fn gap(&self, theta: &Tensor) -> Option<f64> {
        match &self.judge {
            Judge::Quadratic(exact) => Some(exact.gap(theta)),
            _ => None,
        }
    }

    /// What doing nothing is worth: the noisy images' loss and PSNR.
    pub fn untouched(&self) -> Summary {
        let mut found = Summary::new();
        if let Judge::Images { train, .. } = &self.judge {
            let loss = self.problem.upper.value_and_grad(&train.noisy).0.double_value(&[]);
            found.insert("noisy_loss".into(), json!(loss));
            found.insert("noisy_psnr".into(), json!(psnr(&train.noisy, &train.clean)));
        }
        found
    }
}

/// Mean over the images (first dimension) of 10 log10(1/MSE), dB; pixels lie in [0, 1].
fn psnr(x: &Tensor, clean: &Tensor) -> f64 {
    let errors = (x - clean).square().flatten(1, -1).mean_dim([1i64].as_slice(), false, Kind::Double);
    -10.0 * errors.log10().mean(Kind::Double).double_value(&[])
}

/// Standard normal values, a pure function of seed and purpose whatever the device.
fn normal(seed: u64, purpose: &str, shape: &[i64], device: Device) -> Tensor {
    tch::manual_seed(rng::mix(seed, purpose) as i64);
    Tensor::randn(shape, tch::kind::DOUBLE_CPU).to_device(device)
}

fn quadratic(method: &Method, seed: u64, device: Device) -> Task {
    let &QuadraticConfig { rows, size, noise, condition, .. } = &method.quadratic;
    let noise = |purpose: &str| normal(seed, purpose, &[rows], device) * noise;
    let (e1, e2) = (noise("maid noise upper"), noise("maid noise lower"));
    tch::manual_seed(rng::mix(seed, "maid matrices") as i64);
    let uniform = |shape: &[i64]| Tensor::rand(shape, tch::kind::DOUBLE_CPU).to_device(device);
    let [a1, a2, a3] = [(); 3].map(|()| uniform(&[rows, size]));
    let a2 = if condition > 0.0 { conditioned(&a2, condition) } else { a2 };
    let [x, theta] = [(); 2].map(|()| uniform(&[size]));
    let (b1, b2) = (a1.mv(&x) + e1, a2.mv(&x) + a3.mv(&theta) + e2);
    let judge = Judge::Quadratic(Exact::new([&a1, &a2, &a3], [&b1, &b2]));
    let (lower, upper) = (QuadraticLower::new(&a2, &a3, &b2), QuadraticUpper::new(&a1, &b1));
    let problem = Bilevel { lower: Box::new(lower), upper: Box::new(upper) };
    Task { problem, theta: x.full_like(method.start()[0]), x: x.zeros_like(), judge }
}

fn logreg(config: &Config, device: Device, root: &Path) -> Result<Task> {
    let splits = data::load(&config.data, root, &ProgressBar::hidden())?;
    let settings = &config.method.logreg;
    let brightest = if config.data.name == DataName::Digits { 16.0 } else { 255.0 };
    let features = |images: &Images| {
        let mut pixels = images.pixels.to_kind(Kind::Double) / brightest;
        if settings.side > 0 {
            pixels = pixels.upsample_bilinear2d([settings.side; 2], false, None, None);
        }
        let pixels = pixels.flatten(1, -1);
        let ones = Tensor::ones([pixels.size()[0], 1], tch::kind::DOUBLE_CPU);
        let a = if settings.bias { Tensor::cat(&[pixels, ones], 1) } else { pixels };
        (a.to_device(device), images.labels.to_device(device))
    };
    let (a, labels) = features(&splits.train);
    let (test, test_labels) = features(&splits.test);
    let (upper, upper_labels) = match settings.upper {
        UpperData::Test => (test.shallow_clone(), test_labels.shallow_clone()),
        UpperData::Validation => {
            let val = splits.val.as_ref();
            features(val.context("data.val = 0, but method.logreg.upper = \"validation\" needs validation images")?)
        }
    };
    let shape = [a.size()[1], splits.classes().len() as i64];
    let problem = Bilevel {
        lower: Box::new(LogisticLower(CrossEntropy::new(&a, &labels)?)),
        upper: Box::new(CrossEntropy::new(&upper, &upper_labels)?),
    };
    let theta = Tensor::full(shape, config.method.start()[0], (Kind::Double, device));
    Ok(Task { problem, x: theta.zeros_like(), theta, judge: Judge::Classes(test, test_labels) })
}

fn denoising(config: &Config, seed: u64, device: Device, root: &Path) -> Result<Task> {
    let (method, images) = (&config.method, &config.images);
    let clean = match &images.folder {
        None => mosaics(images.count)?,
        Some(folder) => read_gray("images.folder", &root.join(folder), images.count, images.side, images.fit)?,
    };
    let train = Pair::new(&clean, method.problem, images, normal(seed, "maid noise", &clean.size(), device));
    let lower = |pair: &Pair, side: i64| lower(method, &pair.noisy, side);
    let test = match &images.test_folder {
        None => None,
        Some(folder) => {
            let folder = root.join(folder);
            let clean = read_gray("images.test_folder", &folder, images.test_count, images.test_side, images.fit)?;
            let noise = normal(seed, "maid test noise", &clean.size(), device);
            let pair = Pair::new(&clean, method.problem, images, noise);
            Some((lower(&pair, clean.size()[1])?, pair))
        }
    };
    let problem = Bilevel { lower: lower(&train, clean.size()[1])?, upper: Box::new(SquaredError::new(&train.clean)) };
    let theta = match method.problem {
        Problem::Foe => experts(method, seed, device),
        _ => Tensor::from_slice(method.start()).to_device(device),
    };
    let x = train.noisy.copy();
    Ok(Task { problem, theta, x, judge: Judge::Images { train, test } })
}

impl Pair {
    /// `clean` [N, side, side]; tv's images are flat.
    fn new(clean: &Tensor, problem: Problem, images: &ImageConfig, noise: Tensor) -> Pair {
        let clean = clean.to_device(noise.device());
        let noisy = &clean + noise * images.noise;
        let shaped = |x: Tensor| if problem == Problem::Tv { x.flatten(1, -1) } else { x };
        Pair { clean: shaped(clean), noisy: shaped(noisy) }
    }
}

/// The lower level on noisy images, averaged over them.
fn lower(method: &Method, noisy: &Tensor, side: i64) -> Result<Box<dyn Lower>> {
    let (tv, foe) = (&method.tv, &method.foe);
    let variation = if tv.isotropic { Variation::Isotropic } else { Variation::Anisotropic };
    Ok(match method.problem {
        Problem::Foe => Box::new(FoeLower::new(noisy, foe.filters, foe.kernel, foe.pad, FACTOR, true)?),
        _ => Box::new(TvLower::new(noisy, side, variation, FACTOR, true)?),
    })
}

/// theta0 of foe: t0 = 0, the same log weight and log smoothing for each filter, and filters of zero mean by Xavier's rule
/// (normal, variance 2/(fan in + fan out)).
fn experts(method: &Method, seed: u64, device: Device) -> Tensor {
    let (k, kernel) = (method.foe.filters, method.foe.kernel);
    let area = kernel * kernel;
    let deviation = (2.0 / (area + k * area) as f64).sqrt();
    let filters = normal(seed, "maid filters", &[k, area], device) * deviation;
    let filters = &filters - filters.mean_dim([1i64].as_slice(), true, Kind::Double);
    let same = |n: i64, value: f64| Tensor::full([n], value, (Kind::Double, device));
    let start = method.start();
    Tensor::cat(&[same(1, 0.0), same(k, start[0]), same(k, start[1]), filters.flatten(0, -1)], 0)
}

/// Mosaic m holds the digits 36m..36m+35 row by row: [count, 48, 48], pixels in [0, 1].
fn mosaics(count: usize) -> Result<Tensor> {
    let digits = read_digits()?.pixels;
    let tiles = MOSAIC * MOSAIC;
    let all = digits.size()[0] / tiles;
    let count = if count == 0 { all } else { count as i64 };
    ensure!(count <= all, "images.count = {count}, but the embedded digits fill {all} mosaics");
    let pixels = digits.narrow(0, 0, count * tiles).to_kind(Kind::Double) / 16.0;
    let (height, width) = (pixels.size()[2], pixels.size()[3]);
    let grid = pixels.view([count, MOSAIC, MOSAIC, height, width]).permute([0, 1, 3, 2, 4]);
    Ok(grid.reshape([count, MOSAIC * height, MOSAIC * width]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mosaic_holds_its_digits_row_by_row() {
        let (mosaics, digits) = (mosaics(4).unwrap(), read_digits().unwrap().pixels);
        assert_eq!(mosaics.size(), [4, 48, 48]);
        let tile = mosaics.get(2).narrow(0, 8, 8).narrow(1, 16, 8) * 16.0;
        let digit = digits.get(2 * 36 + 6 + 2).squeeze().to_kind(Kind::Double);
        assert!(tile.equal(&digit));
        assert!(super::mosaics(50).is_err());
    }

    #[test]
    fn the_optimum_of_the_quadratic_is_below_its_neighbours() {
        let task = quadratic(&Method { problem: Problem::Quadratic, ..Method::default() }, 0, Device::Cpu);
        let method = Method { problem: Problem::Quadratic, ..Method::default() };
        let (start, reached) = task.judge(&method, &task.theta, &task.x).unwrap();
        assert!(reached <= 1e-4 && start["gap"].as_f64().unwrap() > 0.0, "{start:?}");
    }

    #[test]
    fn psnr_of_a_tenth_is_twenty() {
        let clean = Tensor::zeros([2, 9], tch::kind::DOUBLE_CPU);
        assert!((psnr(&(&clean + 0.1), &clean) - 20.0).abs() < 1e-9);
    }
}
