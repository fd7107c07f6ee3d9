//! Orthogonality of the reshaped kernel m `[M, C k^d]`: what L_orth is compared with. A layer with an orthogonal m can still
//! stretch images (3x3: up to 3 times).

use tch::{Kind, Tensor};

/// m: the kernel as a matrix, a filter a row.
pub fn reshaped(kernel: &Tensor) -> Tensor {
    kernel.flatten(1, -1)
}

fn gram_deviation(rows: &Tensor) -> Tensor {
    let size = rows.size()[0];
    rows.matmul(&rows.tr()) - Tensor::eye(size, (rows.kind(), rows.device()))
}

/// m m^t - I, or m^t m - I if that is the smaller matrix.
fn smaller_side(m: &Tensor) -> Tensor {
    if m.size()[0] <= m.size()[1] { gram_deviation(m) } else { gram_deviation(&m.tr()) }
}

/// SO: ||m m^t - I||_F^2 on the smaller side.
pub fn so(kernel: &Tensor) -> Tensor {
    smaller_side(&reshaped(kernel)).square().sum(kernel.kind())
}

/// DSO: ||m m^t - I||_F^2 + ||m^t m - I||_F^2.
pub fn dso(kernel: &Tensor) -> Tensor {
    let m = reshaped(kernel);
    gram_deviation(&m).square().sum(m.kind()) + gram_deviation(&m.tr()).square().sum(m.kind())
}

/// SRIP: ||u|| after `iterations` steps u <- D (u / ||u||) from v0 `[C k^d]`, D = m^t m - I: about its spectral norm.
pub fn srip(kernel: &Tensor, v0: &Tensor, iterations: u64) -> Tensor {
    let m = reshaped(kernel);
    let step = |u: Tensor, _| {
        let unit = &u / u.norm();
        m.tr().mv(&m.mv(&unit)) - unit
    };
    (0..iterations).fold(v0.shallow_clone(), step).norm()
}

/// The distance of the first public implementation (Wang et al.): the same as SO, not squared.
pub fn distance(kernel: &Tensor) -> Tensor {
    smaller_side(&reshaped(kernel)).norm()
}

/// The (semi-)orthogonal matrix nearest to the reshaped kernel, as a kernel: its polar factor.
pub fn nearest_orthogonal(kernel: &Tensor) -> Tensor {
    let (u, _, v) = reshaped(&kernel.detach().to_kind(Kind::Double)).svd(true, true);
    u.matmul(&v.tr()).view_as(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn the_nearest_orthogonal_kernel_has_no_loss_on_either_side() {
        tch::manual_seed(1);
        for size in [[4, 2, 3, 3], [20, 2, 3, 3]] {
            let kernel = nearest_orthogonal(&Tensor::randn(size, (Kind::Double, Device::Cpu)));
            assert!(so(&kernel).double_value(&[]) < 1e-20);
            assert!(distance(&kernel).double_value(&[]) < 1e-10);
        }
    }

    #[test]
    fn many_power_steps_find_the_spectral_norm() {
        tch::manual_seed(2);
        let kernel = Tensor::randn([3, 2, 3, 3], (Kind::Double, Device::Cpu));
        let v0 = Tensor::randn([18], (Kind::Double, Device::Cpu));
        let m = reshaped(&kernel);
        let largest = (m.tr().matmul(&m) - Tensor::eye(18, (Kind::Double, Device::Cpu))).svd(true, false).1.max();
        assert!((srip(&kernel, &v0, 200) - largest).abs().double_value(&[]) < 1e-8);
    }
}
