//! Sharpness of G = (1/n) sum_i g_i g_i^T from the Gram matrix of the g_i, which has the same non-zero spectrum.

use tch::{Device, Kind, Tensor};

/// Eigenvalues below this share of the largest count as zero.
const RANK: f64 = 1e-11;

/// Trace, Frobenius norm and largest eigenvalue of G.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sharpness {
    pub trace: f64,
    pub frob: f64,
    pub top: f64,
}

/// G seen in the coordinates of its eigenvectors with eigenvalues above zero.
pub struct Spectrum {
    /// Those eigenvalues, ascending, float64 `[r]`.
    pub eigenvalues: Tensor,
    /// The g_i in these coordinates, `[n, r]`: coordinates^T coordinates / n = diag(eigenvalues).
    pub coordinates: Tensor,
    /// Length p of a g_i.
    pub dimension: i64,
    pub sharpness: Sharpness,
}

impl Spectrum {
    /// Of gradients `[n, p]`, float64, one a row.
    pub fn of(gradients: &Tensor) -> Spectrum {
        let n = gradients.size()[0] as f64;
        let gram = gradients.matmul(&gradients.tr()) / n;
        let (eigenvalues, vectors) = gram.linalg_eigh("L");
        let top = eigenvalues.max().double_value(&[]).max(0.0);
        let kept = eigenvalues.gt(top * RANK).nonzero().view(-1);
        let eigenvalues = eigenvalues.index_select(0, &kept);
        let coordinates = vectors.index_select(1, &kept) * (&eigenvalues * n).sqrt();
        let sharpness = Sharpness {
            trace: gradients.square().sum(Kind::Double).double_value(&[]) / n,
            frob: gram.norm().double_value(&[]),
            top,
        };
        Spectrum { eigenvalues, coordinates, dimension: gradients.size()[1], sharpness }
    }

    pub fn rank(&self) -> i64 {
        self.eigenvalues.numel() as i64
    }

    pub fn host(&self) -> Vec<f64> {
        Vec::<f64>::try_from(self.eigenvalues.to_device(Device::Cpu)).expect("float64 eigenvalues")
    }
}
