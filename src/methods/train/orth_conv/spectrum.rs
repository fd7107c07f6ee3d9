//! The singular values of the layer with circular borders, from N x N outputs: exactly, without its matrix.

use anyhow::{Context, Result, ensure};
use std::f64::consts::PI;
use tch::{Kind, Tensor, no_grad};

use super::lorth::Shape;
use crate::models::layers::wrap_around;
use crate::native;

/// y = A x: cross-correlation with circular borders and the window offset -floor((k-1)/2) of training. x `[B, C, SN, ..]`,
/// K `[M, C, k, ..]`, y `[B, M, N, ..]`; S must divide the sides of x.
pub fn circular_conv(x: &Tensor, kernel: &Tensor, stride: i64) -> Tensor {
    let same = |n: i64| vec![n; kernel.dim() - 2];
    let none = None::<&Tensor>;
    let wrapped = wrap_around(x, &kernel.size()[2..]);
    wrapped.convolution(kernel, none, same(stride), same(0), same(1), false, same(0), 1)
}

/// The same with the window's offset 0, as the paper writes it: y[m, p, q] = sum K[m, c, i, j] x[c, Sp + i, Sq + j].
pub fn corner_conv(x: &Tensor, kernel: &Tensor, stride: i64) -> Tensor {
    let dims: Vec<i64> = (2..x.dim() as i64).collect();
    let back: Vec<i64> = kernel.size()[2..].iter().map(|k| -((k - 1) / 2)).collect();
    circular_conv(&x.roll(back, dims), kernel, stride)
}

/// A `[M N^d, C (SN)^d]`, window offset 0: rows (m, p, q), columns (c, row, column). For small layers.
pub fn matrix(kernel: &Tensor, shape: Shape, n: i64) -> Tensor {
    let side = shape.stride * n;
    let columns = shape.c * side.pow(shape.dim);
    let images = Tensor::eye(columns, (kernel.kind(), kernel.device()));
    let images = images.view(&[&[columns, shape.c][..], &vec![side; shape.dim as usize]].concat()[..]);
    corner_conv(&images, kernel, shape.stride).flatten(1, -1).tr()
}

/// All min(M N^d, C (SN)^d) singular values of A in float64, the largest first. For each output frequency (u, v) the S^d
/// matrices H(u+aN, v+bN) of the kernel's Fourier transform stand side by side, `[M, C S^d]`, divided by sqrt(S^d).
/// K is real, so H(-f) is the conjugate of H(f): half of the frequencies do.
pub fn singular_values(kernel: &Tensor, shape: Shape, n: i64) -> Tensor {
    let Shape { m, c, k, stride, dim } = shape;
    let side = stride * n;
    let kernel = kernel.detach().to_kind(Kind::Double);
    let double = (Kind::Double, kernel.device());
    let phase = Tensor::arange(side, double).outer(&Tensor::arange(k, double)) * (-2.0 * PI / side as f64);
    let fourier = Tensor::complex(&phase.cos(), &phase.sin()).tr();
    // Frequency u + aN at the place (a, u).
    let folded = |h: Tensor| h.matmul(&fourier).unflatten(-1, [stride, n]);
    let complex = Tensor::complex(&kernel, &kernel.zeros_like());
    let half = n / 2 + 1;
    let (blocks, frequencies) = if dim == 1 {
        let h = folded(complex).narrow(-1, 0, half);
        (h.permute([3, 0, 1, 2]), half)
    } else {
        // [M, C, i, b, v] -> [M, C, b, v, a, u]
        let h = folded(folded(complex).permute([0, 1, 3, 4, 2])).narrow(-1, 0, half);
        (h.permute([5, 3, 0, 1, 4, 2]), half * n)
    };
    let blocks = blocks.reshape([frequencies, m, c * stride.pow(dim)]) / (stride.pow(dim) as f64).sqrt();
    let sigma = blocks.svd(true, false).1.view([half, -1]);
    // u = 0 and u = N/2 are their own conjugates' rows; every other stands for two.
    let twice = (n - 1) / 2;
    Tensor::cat(&[sigma.reshape(-1), sigma.narrow(0, 1, twice).reshape(-1)], 0).sort(0, true).0
}

/// How far a spectrum is from that of an orthogonal layer.
#[derive(Clone, Copy, Debug)]
pub struct Errors {
    pub sigma_min: f64,
    pub sigma_max: f64,
    /// ||A A^t - I||_F in RO, ||A^t A - I||_F in CO.
    pub frobenius: f64,
    /// The same in spectral norm.
    pub spectral: f64,
}

impl Errors {
    /// Of the singular values of [`singular_values`]; one transfer to the host.
    pub fn of(sigma: &Tensor) -> Errors {
        let deviation = sigma.square() - 1.0;
        let frobenius = deviation.square().sum(Kind::Double).sqrt();
        let all = Tensor::stack(&[sigma.min(), sigma.max(), frobenius, deviation.abs().max()], 0);
        let all = Vec::<f64>::try_from(all).expect("four numbers");
        Errors { sigma_min: all[0], sigma_max: all[1], frobenius: all[2], spectral: all[3] }
    }

    /// err_s(N) and the rest for outputs of n x n.
    pub fn at(kernel: &Tensor, shape: Shape, n: i64) -> Errors {
        Errors::of(&singular_values(kernel, shape, n))
    }
}

/// Where err_s = e puts all singular values: [sqrt(max(0, 1-e)), sqrt(1+e)].
pub fn isometry(spectral: f64) -> (f64, f64) {
    ((1.0 - spectral).max(0.0).sqrt(), (1.0 + spectral).sqrt())
}

/// Repeated x <- x/||x||; y = A x; sigma = ||y||; x <- A^t y, from x0 `[C, SN, ..]`: a lower bound of the largest singular
/// value that rises with `iterations`.
pub struct PowerIteration {
    /// `[iterations]`, in order.
    pub sigma: Tensor,
    /// The last A x.
    pub y: Tensor,
    /// The last A^t y, not normalized.
    pub x: Tensor,
}

pub fn power_iteration(kernel: &Tensor, stride: i64, x0: &Tensor, iterations: u64) -> Result<PowerIteration> {
    ensure!(iterations > 0, "iters = 0 leaves nothing to report; it must be at least 1");
    let kernel = kernel.detach();
    let (mut x, mut last, mut sigma) = (x0.detach(), None, Vec::new());
    for _ in 0..iterations {
        let unit = no_grad(|| &x / x.norm()).unsqueeze(0).set_requires_grad(true);
        let y = corner_conv(&unit, &kernel, stride);
        let adjoint = native::vjp(&[&y], &[&y.detach()], &[&unit], false, false)?.pop().flatten();
        sigma.push(y.detach().norm());
        x = adjoint.context("A x depends on x")?.squeeze_dim(0);
        last = Some(y.detach().squeeze_dim(0));
    }
    Ok(PowerIteration { sigma: Tensor::stack(&sigma, 0), y: last.context("one step at least")?, x })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::train::orth_conv::lorth::measure;
    use tch::Device;

    fn kernel(size: &[i64]) -> Tensor {
        tch::manual_seed(7);
        Tensor::randn(size, (Kind::Double, Device::Cpu)) * 0.3
    }

    #[test]
    fn the_spectrum_is_that_of_the_matrix() {
        for (size, stride, n) in [
            (&[3, 2, 3, 3][..], 1, 5),
            (&[3, 2, 3, 3], 2, 4),
            (&[5, 1, 2, 2], 2, 3),
            (&[2, 3, 5], 1, 6),
            (&[3, 2, 3], 3, 3),
            (&[2, 2, 5, 5], 1, 2), // wraps around more than once
        ] {
            let kernel = kernel(size);
            let shape = Shape::of(&kernel, stride).unwrap();
            let dense = matrix(&kernel, shape, n).svd(true, false).1;
            let sigma = singular_values(&kernel, shape, n);
            assert_eq!(sigma.size(), dense.size(), "{size:?} {stride} {n}");
            assert!((sigma - dense).abs().max().double_value(&[]) < 1e-12, "{size:?} {stride} {n}");
        }
    }

    #[test]
    fn the_frobenius_error_is_the_loss_and_the_spectral_one_is_bounded_by_it() {
        for (size, stride) in [(&[3, 2, 3, 3][..], 1), (&[3, 2, 3, 3], 2), (&[4, 1, 4, 4], 2), (&[6, 2, 5], 2)] {
            let kernel = kernel(size);
            let shape = Shape::of(&kernel, stride).unwrap();
            let loss = measure(&kernel, shape);
            for n in [5, 8] {
                let errors = Errors::at(&kernel, shape, n);
                let ratio = errors.frobenius.powi(2) / (n.pow(shape.dim) as f64 * loss);
                assert!((ratio - 1.0).abs() < 1e-12, "{size:?} {stride} {n}: {ratio}");
                assert!(errors.spectral.powi(2) <= shape.alpha() as f64 * loss);
                let (low, high) = isometry(errors.spectral);
                assert!(low <= errors.sigma_min + 1e-12 && errors.sigma_max <= high + 1e-12);
            }
        }
    }

    #[test]
    fn power_iteration_rises_to_the_largest_singular_value() {
        let kernel = kernel(&[3, 2, 3, 3]);
        let x0 = self::kernel(&[2, 8, 8]);
        let largest = singular_values(&kernel, Shape::of(&kernel, 2).unwrap(), 4).max();
        let power = power_iteration(&kernel, 2, &x0, 300).unwrap();
        let sigma = Vec::<f64>::try_from(&power.sigma).unwrap();
        assert!(sigma.windows(2).all(|pair| pair[1] >= pair[0] - 1e-12));
        assert!((sigma[299] - largest.double_value(&[])).abs() < 1e-6);
    }
}
