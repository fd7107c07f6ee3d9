//! Kernel matrices, computed by blocks of rows so that no temporary is larger than the block.

use anyhow::{Context, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// k(x, z).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kernel {
    /// exp(-gamma |x-z|^2), gamma = 1/(2 sigma^2): the paper's.
    Rbf {
        /// Factor of the squared distance, > 0.
        gamma: f64,
    },
    /// <x, z>.
    Linear,
    /// (gamma <x, z> + offset)^degree.
    Polynomial {
        /// Factor of the product, > 0.
        gamma: f64,
        /// Added to it, >= 0.
        offset: f64,
        /// Its power, >= 1.
        degree: u32,
    },
    /// exp(-gamma |x-z|_1).
    Laplace {
        /// Factor of the sum of absolute differences, > 0.
        gamma: f64,
    },
}

impl Default for Kernel {
    fn default() -> Kernel {
        Kernel::Rbf { gamma: 0.02 }
    }
}

/// Rows of x per block.
const BLOCK: i64 = 1024;
/// How far a kernel matrix from a file may be from symmetric.
const SYMMETRY: f64 = 1e-8;

impl Kernel {
    /// k(x_i, z_j) for x [n,p], z [m,p] (any float kind, one device): float64 [n,m].
    pub fn matrix(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        let (xs, zs) = (x.size(), z.size());
        ensure!(
            xs.len() == 2 && zs.len() == 2 && xs[1] == zs[1],
            "kernel inputs have shapes {xs:?} and {zs:?}; [n, p] and [m, p] are needed"
        );
        self.check()?;
        let (mut x, mut z) = (x.to_kind(Kind::Double), z.to_kind(Kind::Double));
        if let Kernel::Rbf { .. } = self {
            // |x-z|^2 = |x|^2 + |z|^2 - 2 <x,z> loses what the common offset adds to |x|^2: take it away first.
            let centre = x.mean_dim(0, true, Kind::Double);
            (x, z) = (x - &centre, z - &centre);
        }
        let k = Tensor::f_empty([xs[0], zs[0]], (Kind::Double, x.device())).with_context(|| {
            let gib = (8 * xs[0] * zs[0]) as f64 / (1u64 << 30) as f64;
            format!(
                "a kernel matrix of {} x {} points takes {gib:.1} GiB, which {:?} does not have",
                xs[0],
                zs[0],
                x.device()
            )
        })?;
        for start in (0..xs[0]).step_by(BLOCK as usize) {
            let rows = BLOCK.min(xs[0] - start);
            self.block(&mut k.narrow(0, start, rows), &x.narrow(0, start, rows), &z);
        }
        Ok(k)
    }

    /// Whether the fields are in their ranges.
    pub fn check(&self) -> Result<()> {
        if let Kernel::Rbf { gamma } | Kernel::Laplace { gamma } | Kernel::Polynomial { gamma, .. } = *self {
            ensure!(gamma > 0.0 && gamma.is_finite(), "gamma = {gamma} must be positive");
        }
        if let Kernel::Polynomial { offset, degree, .. } = *self {
            ensure!(degree > 0, "degree = 0 must be at least 1");
            ensure!(offset >= 0.0 && offset.is_finite(), "offset = {offset} must not be negative");
        }
        Ok(())
    }

    /// Writes k(x, z) into `k`.
    fn block(&self, k: &mut Tensor, x: &Tensor, z: &Tensor) {
        match *self {
            Kernel::Rbf { gamma } => {
                let squares = |a: &Tensor| a.square().sum_dim_intlist(1, false, Kind::Double);
                let _ = (squares(x).unsqueeze(1) + squares(z)).addmm_out(k, x, &(z.tr() * -2.0));
                let _ = k.clamp_min_(0.0).g_mul_scalar_(-gamma).exp_();
            }
            Kernel::Linear => {
                let _ = x.matmul_out(k, &z.tr());
            }
            Kernel::Polynomial { gamma, offset, degree } => {
                let _ = x.matmul_out(k, &z.tr());
                let _ = k.g_mul_scalar_(gamma).g_add_scalar_(offset).pow_(degree as f64);
            }
            Kernel::Laplace { gamma } => {
                k.copy_(&Tensor::cdist(x, z, 1.0, None));
                let _ = k.g_mul_scalar_(-gamma).exp_();
            }
        }
    }
}

/// Memory of a kernel matrix of n points, GiB: 8 n^2 bytes.
pub fn memory_gib(n: i64) -> f64 {
    8.0 * (n as f64).powi(2) / (1u64 << 30) as f64
}

/// A kernel matrix somebody else made: square, symmetric within 1e-8, finite.
pub fn check_matrix(k: &Tensor) -> Result<()> {
    let size = k.size();
    ensure!(size.len() == 2 && size[0] == size[1], "the kernel matrix has shape {size:?}; it must be square");
    ensure!(k.isfinite().all().int64_value(&[]) == 1, "the kernel matrix holds a value that is not finite");
    let asymmetry = (k - k.tr()).abs().max().double_value(&[]);
    ensure!(
        asymmetry <= SYMMETRY,
        "the kernel matrix is not symmetric: K and K^T differ by {asymmetry:e} (at most {SYMMETRY:e})"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(n: i64, seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::randn([n, 3], tch::kind::DOUBLE_CPU) + 1000.0
    }

    fn by_hand(kernel: Kernel, x: &[f64], z: &[f64]) -> f64 {
        let difference = |power: i32| x.iter().zip(z).map(|(a, b)| (a - b).abs().powi(power)).sum::<f64>();
        let product: f64 = x.iter().zip(z).map(|(a, b)| a * b).sum();
        match kernel {
            Kernel::Rbf { gamma } => (-gamma * difference(2)).exp(),
            Kernel::Linear => product,
            Kernel::Polynomial { gamma, offset, degree } => (gamma * product + offset).powi(degree as i32),
            Kernel::Laplace { gamma } => (-gamma * difference(1)).exp(),
        }
    }

    #[test]
    fn blocks_agree_with_the_definition_far_from_the_origin() {
        let kernels = [
            Kernel::Rbf { gamma: 0.7 },
            Kernel::Linear,
            Kernel::Polynomial { gamma: 0.01, offset: 1.0, degree: 3 },
            Kernel::Laplace { gamma: 0.3 },
        ];
        // More rows than one block.
        let (x, z) = (points(BLOCK + 3, 1), points(2, 2));
        for kernel in kernels {
            let k = kernel.matrix(&x, &z).unwrap();
            for (i, j) in [(0, 0), (BLOCK - 1, 1), (BLOCK, 0), (BLOCK + 2, 1)] {
                let row = |t: &Tensor, i: i64| Vec::<f64>::try_from(t.get(i)).unwrap();
                let expected = by_hand(kernel, &row(&x, i), &row(&z, j));
                let actual = k.double_value(&[i, j]);
                assert!(
                    (actual - expected).abs() <= 1e-9 * expected.abs(),
                    "{kernel:?} [{i},{j}]: {actual} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_point_has_similarity_one_with_itself() {
        let x = points(5, 3);
        let k = Kernel::Rbf { gamma: 80.0 }.matrix(&x, &x).unwrap();
        assert!((k.diagonal(0, 0, 1) - 1.0).abs().max().double_value(&[]) < 1e-10);
    }

    #[test]
    fn a_bad_matrix_is_refused() {
        let message = |k: Tensor| check_matrix(&k).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message(Tensor::zeros([2, 3], tch::kind::DOUBLE_CPU)).contains("must be square"));
        assert!(message(Tensor::from_slice2(&[[1.0, 0.5], [0.4, 1.0]])).contains("not symmetric"));
        assert_eq!(message(Tensor::from_slice2(&[[1.0, 0.5], [0.5, 1.0]])), "");
    }
}
