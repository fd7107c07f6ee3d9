//! The target memory: for each training sample the moving average of the predictions it got.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

/// t `[n, K]`, a row a training sample, by *dataset index* (not by batch position or shuffled order). It starts at zero, with
/// no bias correction: after m visits a row sums to 1 - beta^m. It survives epochs and belongs in the checkpoint: a resumed
/// run that starts at zero again memorizes the wrong labels.
pub struct TargetMemory {
    rows: Tensor,
}

impl TargetMemory {
    /// The memory before the first step, float32 on the training device.
    pub fn new(samples: i64, classes: i64, device: Device) -> TargetMemory {
        TargetMemory::restore(&Tensor::zeros([samples, classes], (Kind::Float, device)))
    }

    /// A memory that goes on from these rows (copied).
    pub fn restore(rows: &Tensor) -> TargetMemory {
        TargetMemory { rows: rows.detach().copy() }
    }

    /// Goes on from the rows of a checkpoint. Rows of another shape are an error.
    pub fn load(&self, rows: &Tensor) -> Result<()> {
        let (given, own) = (rows.size(), self.rows.size());
        ensure!(given == own, "the target memory of the checkpoint has shape {given:?}, this run needs {own:?}");
        tch::no_grad(|| self.rows.shallow_clone().copy_(rows));
        Ok(())
    }

    /// t `[n, K]`.
    pub fn rows(&self) -> &Tensor {
        &self.rows
    }

    /// t_i <- beta t_i + (1-beta) p_i / sum_c p_ic for the samples `index` (int64 `[B]`, distinct: which of two writes to one
    /// row wins is undefined) with predictions `p` `[B, K]`; returns the updated rows `[B, K]`, without gradient.
    pub fn update(&self, index: &Tensor, p: &Tensor, beta: f64) -> Tensor {
        tch::no_grad(|| {
            let p = p.detach().to_kind(self.rows.kind());
            let normalized = &p / p.sum_dim_intlist(&[-1i64][..], true, p.kind());
            let updated = normalized.lerp(&self.rows.index_select(0, index), beta);
            let _ = self.rows.shallow_clone().index_copy_(0, index, &updated);
            updated
        })
    }

    /// Whether each sample's label is suspected to be wrong, argmax(t_i) != y_i, for labels `[n]`: bool `[n]`. The row of a
    /// sample never visited is zero and speaks for class 0.
    pub fn suspected_noisy(&self, labels: &Tensor) -> Tensor {
        self.rows.argmax(-1, false).ne_tensor(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_visited_rows_move_and_their_sum_is_one_minus_beta_to_the_visits() {
        let memory = TargetMemory::new(4, 3, Device::Cpu);
        let index = Tensor::from_slice(&[2i64, 0]);
        let p = Tensor::from_slice(&[0.2f32, 0.2, 0.6, 1.0, 2.0, 1.0]).view([2, 3]);
        for _ in 0..3 {
            let _ = memory.update(&index, &p, 0.7);
        }
        let sums = Vec::<f64>::try_from(memory.rows().sum_dim_intlist(&[1i64][..], false, Kind::Double)).unwrap();
        let visited = 1.0 - 0.7f64.powi(3);
        for (sum, expected) in sums.iter().zip([visited, 0.0, visited, 0.0]) {
            assert!((sum - expected).abs() < 1e-6, "{sums:?}");
        }
    }

    #[test]
    fn the_update_returns_the_new_rows_without_gradient() {
        let memory = TargetMemory::new(2, 2, Device::Cpu);
        let p = Tensor::from_slice(&[0.5f32, 0.5]).view([1, 2]).set_requires_grad(true);
        let rows = memory.update(&Tensor::from_slice(&[1i64]), &p, 0.6);
        assert!(!rows.requires_grad());
        assert_eq!(rows, memory.rows().narrow(0, 1, 1));
    }

    #[test]
    fn a_restored_memory_does_not_share_its_rows() {
        let memory = TargetMemory::new(1, 2, Device::Cpu);
        let copy = TargetMemory::restore(memory.rows());
        let _ = copy.update(&Tensor::from_slice(&[0i64]), &Tensor::ones([1, 2], (Kind::Float, Device::Cpu)), 0.5);
        assert_eq!(memory.rows().sum(Kind::Double).double_value(&[]), 0.0);
        assert_eq!(copy.rows().sum(Kind::Double).double_value(&[]), 0.5);
    }
}
