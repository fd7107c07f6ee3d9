//! The very sparse random projection (Li, Hastie, Church 2006) of each tensor of D_l values: entries are non-zero with
//! probability 1/sqrt(D_l), then +-sqrt(sqrt(D_l)/d); each direction is divided by its norm over all tensors. O(d sqrt(D)).

use rand::RngExt;
use tch::{Device, Kind, Tensor};

use crate::rng;

/// The non-zero entries.
pub struct Sparse {
    /// Which direction, int64 `[nnz]`.
    pub row: Tensor,
    /// Which parameter, int64 `[nnz]`.
    pub col: Tensor,
    /// Normalised, `[nnz]`.
    pub val: Tensor,
    /// D.
    pub parameters: i64,
    /// Directions without an entry.
    pub empty: i64,
}

impl Sparse {
    /// From entries of any length; also the directions' norms `[d]`, 1 for one without entries.
    pub fn new(row: Tensor, col: Tensor, val: Tensor, parameters: i64, dimension: i64) -> (Sparse, Tensor) {
        let zeros = Tensor::zeros([dimension], (val.kind(), val.device()));
        let squares = zeros.index_add(0, &row, &val.square());
        let there = squares.gt(0.0);
        let empty = dimension - there.sum(Kind::Int64).int64_value(&[]);
        let norms = squares.sqrt().where_self(&there, &zeros.ones_like());
        let val = val / norms.index_select(0, &row);
        (Sparse { row, col, val, parameters, empty }, norms)
    }

    pub fn draw(sizes: &[i64], dimension: i64, seed: u64, device: Device) -> Sparse {
        let mut draw = rng::stream(seed, "sparse projection");
        let (mut row, mut col, mut val) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for &size in sizes {
            let root = (size as f64).sqrt();
            let magnitude = (root / dimension as f64).sqrt() as f32;
            // Entries are drawn by the gaps between them: geometric with success probability 1/root.
            let ln_miss = (1.0 - 1.0 / root).ln();
            let gap = |u: f64| if root > 1.0 { ((1.0 - u).ln() / ln_miss).floor() as i64 } else { 0 };
            let mut at = gap(draw.random::<f64>());
            while at < size * dimension {
                row.push(at / size);
                col.push(first + at % size);
                val.push(if draw.random::<bool>() { magnitude } else { -magnitude });
                at += 1 + gap(draw.random::<f64>());
            }
            first += size;
        }
        let [row, col] = [row, col].map(|indices| Tensor::from_slice(&indices).to_device(device));
        Sparse::new(row, col, Tensor::from_slice(&val).to_device(device), first, dimension).0
    }

    pub fn offset(&self, theta: &Tensor) -> Tensor {
        let zeros = Tensor::zeros([self.parameters], (theta.kind(), theta.device()));
        zeros.index_add(0, &self.col, &(theta.index_select(0, &self.row) * &self.val))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tensor_has_its_own_density() {
        let sizes = [10_000, 100];
        let p = Sparse::draw(&sizes, 50, 4, Device::Cpu);
        let inside = p.col.lt(10_000).sum(Kind::Int64).int64_value(&[]) as f64;
        // Expected 50 sqrt(10000) = 5000 and 50 sqrt(100) = 500 entries.
        assert!((inside - 5000.0).abs() < 300.0, "{inside}");
        assert!((p.val.numel() as f64 - inside - 500.0).abs() < 100.0);
    }

    #[test]
    fn a_direction_without_entries_is_counted_and_keeps_the_divisor_one() {
        let one = |x: i64| Tensor::from_slice(&[x]);
        let (p, norms) = Sparse::new(one(1), one(2), Tensor::from_slice(&[3.0]), 4, 3);
        assert_eq!((p.empty, Vec::<f64>::try_from(norms).unwrap()), (2, vec![1.0, 3.0, 1.0]));
        let offset = p.offset(&Tensor::from_slice(&[5.0, 7.0, 9.0]));
        assert_eq!(Vec::<f64>::try_from(offset).unwrap(), [0.0, 0.0, 7.0, 0.0]);
    }
}
