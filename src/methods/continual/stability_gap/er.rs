//! Experience replay: L = alpha CE(new batch) + (1 - alpha) CE(memory batch). With an empty memory the new loss has
//! weight 1.

use tch::Tensor;

use crate::continual::heads::cross_entropy;

/// The loss to descend on and its two parts, 0-d.
pub struct ErLoss {
    pub loss: Tensor,
    pub new: Tensor,
    /// 0 without a memory batch.
    pub memory: Tensor,
}

/// Logits `[B, C]` and labels `[B]` of both batches, `alpha` the weight of the new one. A memory batch of no rows
/// counts as none. Logits that only some columns may answer come masked ([`crate::continual::heads`]).
pub fn loss(logits: &Tensor, labels: &Tensor, memory: Option<(&Tensor, &Tensor)>, alpha: f64) -> ErLoss {
    let new = cross_entropy(logits, labels);
    match memory.filter(|(_, labels)| labels.numel() > 0) {
        Some((memory_logits, memory_labels)) => {
            let memory = cross_entropy(memory_logits, memory_labels);
            ErLoss { loss: &new * alpha + &memory * (1.0 - alpha), new, memory }
        }
        None => ErLoss { loss: new.shallow_clone(), memory: new.zeros_like(), new },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn an_empty_memory_leaves_the_new_loss_whole() {
        let options = (Kind::Double, Device::Cpu);
        let (logits, labels) = (Tensor::randn([4, 3], options), Tensor::from_slice(&[0i64, 1, 2, 0]));
        let nothing = (Tensor::zeros([0, 3], options), Tensor::zeros([0], (Kind::Int64, Device::Cpu)));
        for memory in [None, Some((&nothing.0, &nothing.1))] {
            let er = loss(&logits, &labels, memory, 0.25);
            assert_eq!((er.loss.double_value(&[]), er.memory.double_value(&[])), (er.new.double_value(&[]), 0.0));
        }
        let er = loss(&logits, &labels, Some((&(&logits * 2.0), &labels)), 0.25);
        let parts = 0.25 * er.new.double_value(&[]) + 0.75 * er.memory.double_value(&[]);
        assert!((er.loss.double_value(&[]) - parts).abs() < 1e-12);
    }
}
