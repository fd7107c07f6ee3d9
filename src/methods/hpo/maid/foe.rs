//! Problem `foe`: fields of experts, a learned filter bank as denoising prior.
//!
//! theta = [t0; t_1..t_K log weights; s_1..s_K log smoothings; K filters k x k row-major];
//! h = [1/2 ||x-y||^2 + factor e^t0 sum_k e^t_k sum sqrt((c_k * x)^2 + e^{2 s_k})]/N, * is cross-correlation with reflect padding.
//! Images x, y [N, s, s]; g is tv's.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use crate::bilevel::{AutogradProducts, Curvature, Lower, Products, gradients};

/// h. All derivatives by (double) backward.
pub struct FoeLower {
    y: Tensor,
    filters: i64,
    kernel: i64,
    pad: i64,
    factor: f64,
    scale: f64,
}

/// theta taken apart.
struct Experts {
    t0: Tensor,
    /// Log weights and log smoothings [K].
    t: Tensor,
    s: Tensor,
    /// [K, k, k].
    c: Tensor,
}

impl FoeLower {
    /// `y` [N, s, s]; `mean`: h is divided by N.
    pub fn new(y: &Tensor, filters: i64, kernel: i64, pad: i64, factor: f64, mean: bool) -> Result<FoeLower> {
        let size = y.size();
        ensure!(size.len() == 3 && size[0] > 0, "images have shape {size:?}; [N, height, width] is needed");
        let side = size[1].min(size[2]);
        ensure!(filters > 0 && kernel > 0, "filters = {filters} and kernel = {kernel} must be positive");
        ensure!((0..side).contains(&pad), "pad = {pad} must lie in 0..={} (reflection inside the image)", side - 1);
        ensure!(side + 2 * pad >= kernel, "kernel = {kernel} is larger than the padded image ({})", side + 2 * pad);
        let scale = if mean { 1.0 / size[0] as f64 } else { 1.0 };
        Ok(FoeLower { y: y.shallow_clone(), filters, kernel, pad, factor, scale })
    }

    /// The number of hyper-parameters: 1 + 2 K + K k^2.
    pub fn hyper_parameters(&self) -> i64 {
        1 + self.filters * (2 + self.kernel * self.kernel)
    }

    fn experts(&self, theta: &Tensor) -> Experts {
        let (k, area) = (self.filters, self.kernel * self.kernel);
        let parts = theta.split_with_sizes([1, k, k, k * area], 0);
        let [t0, t, s, c]: [Tensor; 4] = parts.try_into().expect("four parts");
        Experts { t0: t0.squeeze(), t, s, c: c.view([k, self.kernel, self.kernel]) }
    }

    /// c_k * x for all k: [N, K, s', s'].
    fn responses(&self, x: &Tensor, c: &Tensor) -> Tensor {
        let x = x.unsqueeze(1);
        let x = if self.pad > 0 { x.reflection_pad2d([self.pad; 4]) } else { x };
        x.conv2d::<Tensor>(&c.unsqueeze(1), None, [1, 1], [0, 0], [1, 1], 1)
    }

    fn with_graph(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        let Experts { t0, t, s, c } = self.experts(theta);
        let smoothing = (s * 2.0).exp().view([1, -1, 1, 1]);
        let roots = (self.responses(x, &c).square() + smoothing).sqrt();
        let potentials = roots.sum_dim_intlist([0, 2, 3].as_slice(), false, Kind::Double);
        let prior = (t.exp() * potentials).sum(Kind::Double) * t0.exp() * self.factor;
        ((x - &self.y).square().sum(Kind::Double) * 0.5 + prior) * self.scale
    }
}

impl Lower for FoeLower {
    fn value(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        tch::no_grad(|| self.with_graph(x, theta))
    }

    fn grad_x(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        tch::with_grad(|| {
            let x = x.detach().set_requires_grad(true);
            gradients(&self.with_graph(&x, theta), &[&x], false).remove(0)
        })
    }

    fn grad_theta(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        tch::with_grad(|| {
            let theta = theta.detach().set_requires_grad(true);
            gradients(&self.with_graph(x, &theta), &[&theta], false).remove(0)
        })
    }

    fn products<'a>(&'a self, x: &Tensor, theta: &Tensor) -> Box<dyn Products + 'a> {
        Box::new(AutogradProducts::new(|x, theta| self.with_graph(x, theta), x, theta))
    }

    /// mu = 1/N (the data term); L = (1 + factor e^t0 lambda)/N, lambda >= the largest eigenvalue of
    /// sum_k e^{t_k - s_k} C_k^T C_k. C_k is a part of the circular correlation on the padded image, whose eigenvalues are the
    /// filter's Fourier transform, after a reflection that repeats a pixel at most `copies` times a dimension.
    fn curvature(&self, theta: &Tensor) -> Result<Curvature> {
        let Experts { t0, t, s, c } = self.experts(theta);
        let padded = [1, 2].map(|dim| self.y.size()[dim] + 2 * self.pad);
        let power = c.fft_fft2(padded.as_slice(), [-2, -1], "backward").abs().square();
        let lambda = ((t - s).exp().view([-1, 1, 1]) * power).sum_dim_intlist(0, false, Kind::Double).max();
        let copies: i64 = [1, 2].map(|dim| most_copies(self.y.size()[dim], self.pad)).iter().product();
        let l = (1.0 + self.factor * (t0.exp() * lambda).double_value(&[]) * copies as f64) * self.scale;
        ensure!(
            l.is_finite(),
            "lower level not smooth (L={l:e}): a weight, smoothing or filter of theta is out of range"
        );
        Ok(Curvature { mu: self.scale, l })
    }
}

/// How often reflect padding shows one pixel of a line of `length`: the pixel itself and an image of it beyond either end.
fn most_copies(length: i64, pad: i64) -> i64 {
    let copies = |i: i64| 1 + i64::from((1..=pad).contains(&i)) + i64::from((1..=pad).contains(&(length - 1 - i)));
    (0..length).map(copies).max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::descent::{Maid, Outcome};
    use super::super::settings::{DescentTest, Settings};
    use super::super::tv::SquaredError;
    use super::*;
    use crate::bilevel::{Bilevel, largest_eigenvalue};

    #[test]
    fn smoothness_bounds_the_hessian_where_it_is_largest() {
        tch::manual_seed(2);
        let random = |shape: &[i64]| Tensor::randn(shape, tch::kind::DOUBLE_CPU);
        for pad in [0, 2] {
            let image = Tensor::zeros([1, 8, 8], tch::kind::DOUBLE_CPU);
            let lower = FoeLower::new(&image, 3, 3, pad, 0.5, true).unwrap();
            let theta = random(&[lower.hyper_parameters()]) * 0.5;
            // All responses are zero on a zero image: every root is at its sharpest.
            let products = lower.products(&image, &theta);
            let largest = largest_eigenvalue(|v| products.hessian(v), &random(&[1, 8, 8]), 100);
            let Curvature { mu, l } = lower.curvature(&theta).unwrap();
            assert_eq!(mu, 1.0);
            assert!(largest <= l && l <= 5.0 * largest, "pad {pad}: {largest} {l}");
        }
    }

    #[test]
    fn filters_are_learned() {
        tch::manual_seed(5);
        let random = |shape: &[i64]| Tensor::randn(shape, tch::kind::DOUBLE_CPU);
        let clean = Tensor::cat(
            &[Tensor::zeros([1, 4, 8], tch::kind::DOUBLE_CPU), Tensor::ones([1, 4, 8], tch::kind::DOUBLE_CPU)],
            1,
        );
        let noisy = &clean + random(&[1, 8, 8]) * 0.2;
        let lower = FoeLower::new(&noisy, 2, 3, 1, 0.5, true).unwrap();
        let theta = random(&[lower.hyper_parameters()]) * 0.3;
        // A weak prior to begin with.
        let _ = theta.get(0).fill_(-2.0);
        let problem = Bilevel { lower: Box::new(lower), upper: Box::new(SquaredError::new(&clean)) };
        let settings = Settings { iterations: 10, alpha0: 1.0, descent_test: DescentTest::Off, ..Settings::default() };
        let mut maid = Maid::start(&problem, settings, &theta, &noisy).unwrap();
        let mut losses = Vec::new();
        while let Outcome::Accepted(record) = maid.iterate().unwrap() {
            losses.push(record.g);
        }
        let untouched = problem.upper.value_and_grad(&noisy).0.double_value(&[]);
        assert!(losses.len() == 10 && losses[9] < 0.9 * untouched, "{losses:?}, noisy {untouched}");
    }

    #[test]
    fn reflection_repeats_pixels_beside_the_edge() {
        assert_eq!([most_copies(8, 0), most_copies(8, 2), most_copies(3, 2)], [1, 2, 3]);
    }
}
