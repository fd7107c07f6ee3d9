//! Co-teaching (Han et al., NeurIPS 2018): two nets; on each batch each picks the samples of smallest loss and the OTHER net is
//! updated on them.

use anyhow::{Result, ensure};
use tch::Tensor;

/// How many samples of large loss are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoTeaching {
    /// tau in [0, 1]: the share left out in the end (the noise rate).
    pub tau: f64,
    /// T_k > 0: epochs over which the share rises.
    pub t_k: f64,
}

impl CoTeaching {
    /// Refuses numbers outside their ranges; the error names the field.
    pub fn check(&self) -> Result<()> {
        ensure!((0.0..=1.0).contains(&self.tau), "tau = {} is outside [0, 1]", self.tau);
        ensure!(self.t_k > 0.0 && self.t_k.is_finite(), "t_k = {} must be positive", self.t_k);
        Ok(())
    }

    /// forget = min(epoch / T_k tau, tau), for epoch 0, 1, ...
    pub fn forget(&self, epoch: f64) -> f64 {
        (epoch / self.t_k * self.tau).min(self.tau)
    }
}

/// int((1 - forget) B).
pub fn keep(forget: f64, batch: i64) -> i64 {
    ((1.0 - forget) * batch as f64) as i64
}

/// The positions (int64 `[keep]`) of the `keep` smallest of the losses `[B]`, smallest first, equal ones in their order. With the
/// picks of net 1 the loss of net 2 is averaged, and the other way round. Stays on the device.
pub fn small_loss(losses: &Tensor, keep: i64) -> Tensor {
    losses.detach().argsort_stable(true, 0, false).narrow(0, 0, keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_rises_to_tau_and_stays() {
        let coteaching = CoTeaching { tau: 0.4, t_k: 10.0 };
        assert_eq!(coteaching.forget(0.0), 0.0);
        assert_eq!(coteaching.forget(5.0), 0.2);
        assert_eq!(coteaching.forget(200.0), 0.4);
        assert_eq!((keep(0.0, 9), keep(0.5, 9), keep(1.0, 9)), (9, 4, 0));
    }

    #[test]
    fn equal_losses_keep_their_order() {
        let losses = Tensor::from_slice(&[2f32, 1.0, 2.0, 1.0, 1.0, 2.0, 0.5]);
        assert_eq!(Vec::<i64>::try_from(small_loss(&losses, 5)).unwrap(), [6, 1, 3, 4, 0]);
        assert_eq!(small_loss(&losses, 0).size(), [0]);
    }
}
