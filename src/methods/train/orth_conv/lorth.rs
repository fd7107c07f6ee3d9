//! L_orth of a kernel: how far the convolution, as a linear map of whole images, is from keeping norms.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

/// Numbers of a convolution layer: K `[M, C, k, ..]` with d spatial dimensions, stride S.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Outputs.
    pub m: i64,
    /// Inputs.
    pub c: i64,
    pub k: i64,
    pub stride: i64,
    pub dim: u32,
}

impl Shape {
    /// That of a kernel `[M, C, k]` or `[M, C, k, k]`.
    pub fn of(kernel: &Tensor, stride: i64) -> Result<Shape> {
        let size = kernel.size();
        ensure!(size.len() == 3 || size.len() == 4, "a kernel [M, C, k] or [M, C, k, k] is needed, not {size:?}");
        ensure!(size.iter().all(|&n| n > 0), "the kernel of shape {size:?} is empty");
        let square = size[2..].iter().all(|&k| k == size[2]);
        ensure!(square, "L_orth is defined for square kernels, not for {}x{}", size[2], size[size.len() - 1]);
        ensure!(stride >= 1, "stride = {stride} must be at least 1");
        Ok(Shape { m: size[0], c: size[1], k: size[2], stride, dim: size.len() as u32 - 2 })
    }

    /// C S^d: the inputs under one step of the window.
    pub fn inputs(&self) -> i64 {
        self.c * self.stride.pow(self.dim)
    }

    /// C k^d: the values of one filter.
    pub fn taps(&self) -> i64 {
        self.c * self.k.pow(self.dim)
    }

    /// M <= C S^d: orthogonal means A A^t = I (row case RO); else A^t A = I (column case CO).
    pub fn is_row(&self) -> bool {
        self.m <= self.inputs()
    }

    /// M = C S^d: A is square, and L_orth hard to minimize.
    pub fn is_square(&self) -> bool {
        self.m == self.inputs()
    }

    /// P = floor((k-1)/S) S: zeros around the kernel as input of the convolution with itself (not the layer's padding).
    pub fn padding(&self) -> i64 {
        (self.k - 1) / self.stride * self.stride
    }

    /// max(0, M - C S^d): what ||G - I0||^2 cannot get below.
    pub fn delta(&self) -> i64 {
        (self.m - self.inputs()).max(0)
    }

    /// err_s(N)^2 <= alpha L_orth for every N: M (2 floor((k-1)/S) + 1)^d in RO, C (2k-1)^d in CO.
    pub fn alpha(&self) -> i64 {
        let row = self.m * (2 * ((self.k - 1) / self.stride) + 1).pow(self.dim);
        let column = self.c * (2 * self.k - 1).pow(self.dim);
        if self.is_square() {
            row.min(column)
        } else if self.is_row() {
            row
        } else {
            column
        }
    }
}

/// I0 for a kernel's G with padding `padding`: zero but for the identity at the centre; `[M, M, 2P/S+1, ..]`.
pub fn target(kernel: &Tensor, shape: Shape, padding: i64) -> Tensor {
    let side = (2 * padding) / shape.stride + 1;
    let size = [vec![shape.m, shape.m], vec![side; shape.dim as usize]].concat();
    let target = Tensor::zeros(size, (kernel.kind(), kernel.device()));
    let mut centre = (0..shape.dim).fold(target.shallow_clone(), |t, _| t.select(2, side / 2));
    let _ = centre.fill_diagonal_(1.0, false);
    target
}

/// G - I0, where G[m, l] are all stride-S cross-correlations of filter m with filter l: the convolution of K with itself.
pub fn deviation(kernel: &Tensor, stride: i64, padding: i64, target: &Tensor) -> Tensor {
    let same = |n: i64| vec![n; kernel.dim() - 2];
    let none = None::<&Tensor>;
    kernel.convolution(kernel, none, same(stride), same(padding), same(1), false, same(0), 1) - target
}

/// L_orth(K) = ||G - I0||_F^2 - max(0, M - C S^d), 0-d, of K's kind: 0 iff the layer is orthogonal. Gradients reach K.
pub fn lorth(kernel: &Tensor, shape: Shape, target: &Tensor) -> Tensor {
    let squared = deviation(kernel, shape.stride, shape.padding(), target).square().sum(kernel.kind());
    if shape.delta() > 0 { squared - shape.delta() } else { squared }
}

/// L_orth in float64, on the host.
pub fn measure(kernel: &Tensor, shape: Shape) -> f64 {
    let kernel = kernel.detach().to_kind(Kind::Double);
    lorth(&kernel, shape, &target(&kernel, shape, shape.padding())).double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::train::orth_conv::exists::delta_kernel;

    fn shape(m: i64, c: i64, k: i64, stride: i64) -> Shape {
        Shape { m, c, k, stride, dim: 2 }
    }

    #[test]
    fn a_kernel_of_unit_taps_has_no_loss_in_any_case() {
        for s in [shape(4, 2, 3, 2), shape(9, 4, 3, 2), shape(40, 8, 3, 2), shape(3, 3, 1, 1), shape(2, 4, 4, 3)] {
            let kernel = delta_kernel(s).unwrap();
            assert!(measure(&kernel, s).abs() < 1e-12, "{s:?}");
        }
    }

    #[test]
    fn padding_is_that_of_kernel_and_stride() {
        assert_eq!([1, 2, 3, 4].map(|stride| shape(1, 1, 3, stride).padding()), [2, 2, 0, 0]);
        assert_eq!(shape(1, 1, 5, 3).padding(), 3);
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let of = |size: &[i64], stride| {
            Shape::of(&Tensor::zeros(size, (Kind::Double, tch::Device::Cpu)), stride).unwrap_err().to_string()
        };
        assert!(of(&[2, 2, 3, 5], 1).contains("square kernels, not for 3x5"));
        assert!(of(&[2, 2, 3, 3], 0).contains("stride = 0"));
        assert!(of(&[2, 2], 1).contains("[2, 2]"));
    }
}
