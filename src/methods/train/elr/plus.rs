//! ELR+: two nets a = 1, 2, each trained on mixed samples, its targets made by the averaged weights of the *other* net.
//! One step of net a on a batch (x, y, index), with the shared step count s (1 at the first update):
//!
//! ```text
//! l, perm        xm = l x + (1-l) x[perm],  ym likewise                    crate::data::mixup
//! P              softmax of the other net's averaged weights on x          (train mode, un-mixed, no gradient)
//! t, q           TargetMemory::update(index, P), then mixed like x         mixed_targets
//! L              CE(z, ym) + ramp(s, coef_step) lambda mean log(1-<q,p>)   Plus::loss
//! w'             gamma_s w' + (1-gamma_s) w, parameters only               Averaging::decay(s), average
//! ```
//!
//! Both averaged nets start from random weights of their own. Batch-norm buffers are not averaged: the averaged nets stay in
//! train mode and update their own in the forward pass.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::loss::{Terms, check_clamp, check_lambda, clamped, log_softmax, pull_to_target};
use super::memory::TargetMemory;
use crate::data::mixup::mix;
use crate::native::foreach;

/// exp(-5 (1 - clip(s, 0, L)/L)^2): a sigmoid-like rise from exp(-5) to 1 over the first L steps; 1 if L is 0.
pub fn ramp(step: i64, length: i64) -> f64 {
    if length == 0 {
        return 1.0;
    }
    let rest = 1.0 - step.clamp(0, length) as f64 / length as f64;
    (-5.0 * rest * rest).exp()
}

/// The numbers of the ELR+ loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plus {
    /// lambda >= 0: weight of the regularizer after the ramp.
    pub lambda: f64,
    /// Steps over which lambda is ramped up; 0: none.
    pub coef_step: i64,
    /// Multiplies the labels by the targets and renormalizes them (CIFAR-100).
    pub reweight_labels: bool,
    /// c in [0, 1/2): predictions are clamped to [c, 1-c].
    pub clamp: f64,
}

impl Plus {
    /// Refuses numbers outside their ranges; the error names the field.
    pub fn check(&self) -> Result<()> {
        ensure!(self.coef_step >= 0, "coef_step = {} must not be negative", self.coef_step);
        check_lambda(self.lambda)?;
        check_clamp(self.clamp)
    }

    /// The loss at shared step `step` of mixed logits `[B, K]` with mixed labels `[B, K]` and mixed targets q `[B, K]`.
    pub fn loss(&self, logits: &Tensor, soft_labels: &Tensor, q: &Tensor, step: i64) -> Terms {
        let log_p = log_softmax(logits, q.kind());
        let p = clamped(&log_p, self.clamp);
        let labels = if self.reweight_labels { reweighted(soft_labels, q) } else { soft_labels.shallow_clone() };
        let ce = -(labels * &log_p).sum_dim_intlist(&[-1i64][..], false, q.kind()).mean(q.kind());
        let reg = pull_to_target(q, &p);
        Terms { ce, reg, weight: ramp(step, self.coef_step) * self.lambda }
    }
}

/// ym q / sum(ym q), row by row.
fn reweighted(soft_labels: &Tensor, q: &Tensor) -> Tensor {
    let product = soft_labels * q;
    &product / product.sum_dim_intlist(&[-1i64][..], true, q.kind())
}

/// Puts the other net's prediction P = softmax(`peer_logits`) `[B, K]`, not clamped, into the memory's rows `index` (int64
/// `[B]`, distinct) and returns q = l t + (1-l) t[perm] `[B, K]` of the updated rows t; `perm` int64 `[B]` are batch positions.
pub fn mixed_targets(
    memory: &TargetMemory,
    index: &Tensor,
    peer_logits: &Tensor,
    beta: f64,
    perm: &Tensor,
    l: &Tensor,
) -> Tensor {
    let t = memory.update(index, &peer_logits.detach().softmax(-1, memory.rows().kind()), beta);
    mix(&t, &t.index_select(0, perm), l)
}

/// How the decay of the averaged weights starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AveragingMode {
    /// ramp(s+1, ema_step) gamma (CIFAR): at first the averaged weights are nearly the raw ones.
    Rampup,
    /// min(1 - 1/(s+1), gamma) (Clothing1M, WebVision): at first a running mean.
    Debias,
}

/// The schedule of the decay gamma_s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Averaging {
    pub mode: AveragingMode,
    /// gamma in [0, 1]: the decay in the end.
    pub gamma: f64,
    /// Steps of the ramp; read by mode rampup only.
    pub ema_step: i64,
}

impl Averaging {
    /// Refuses numbers outside their ranges; the error names the field.
    pub fn check(&self) -> Result<()> {
        ensure!((0.0..=1.0).contains(&self.gamma), "averaging decay = {} is outside [0, 1]", self.gamma);
        let needed = self.mode == AveragingMode::Rampup;
        ensure!(!needed || self.ema_step >= 0, "ema_step = {} must not be negative", self.ema_step);
        Ok(())
    }

    /// gamma_s after the update of shared step `step` >= 1.
    pub fn decay(&self, step: i64) -> f64 {
        match self.mode {
            AveragingMode::Rampup => ramp(step + 1, self.ema_step) * self.gamma,
            AveragingMode::Debias => (1.0 - 1.0 / (step + 1) as f64).min(self.gamma),
        }
    }
}

/// w' <- gamma w' + (1-gamma) w in place, for a list of tensors at once.
pub fn average(averaged: &[&Tensor], raw: &[&Tensor], gamma: f64) -> Result<()> {
    foreach::lerp_(averaged, raw, 1.0 - gamma)
}

/// 0.5 (z_1 + z_2): the prediction of the pair, from the raw nets (official code) or the averaged ones.
pub fn pair_logits(logits1: &Tensor, logits2: &Tensor) -> Tensor {
    (logits1 + logits2) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn the_ramp_rises_from_exp_minus_five_to_one_and_stays() {
        assert_eq!(ramp(0, 100), (-5.0f64).exp());
        assert_eq!(ramp(-3, 100), (-5.0f64).exp());
        assert_eq!(ramp(100, 100), 1.0);
        assert_eq!(ramp(1000, 100), 1.0);
        assert_eq!(ramp(0, 0), 1.0);
        assert!(ramp(40, 100) < ramp(41, 100));
    }

    #[test]
    fn both_starts_of_the_decay_end_at_gamma() {
        let averaging = |mode| Averaging { mode, gamma: 0.99, ema_step: 50 };
        assert!(averaging(AveragingMode::Rampup).decay(1) < 0.01);
        assert_eq!(averaging(AveragingMode::Rampup).decay(49), 0.99);
        assert_eq!(averaging(AveragingMode::Debias).decay(1), 0.5);
        assert_eq!(averaging(AveragingMode::Debias).decay(5000), 0.99);
    }

    #[test]
    fn a_running_mean_start_averages_the_raw_weights() {
        let averaging = Averaging { mode: AveragingMode::Debias, gamma: 1.0, ema_step: -1 };
        let averaged = Tensor::from_slice(&[3f32]).set_requires_grad(true);
        for (step, raw) in [(1, 5f32), (2, 10.0)] {
            average(&[&averaged], &[&Tensor::from_slice(&[raw])], averaging.decay(step)).unwrap();
        }
        assert!((averaged.double_value(&[0]) - 6.0).abs() < 1e-6);
        assert!(averaged.requires_grad());
    }

    #[test]
    fn reweighting_moves_the_label_to_where_the_target_is() {
        let q = Tensor::from_slice(&[0.1, 0.3, 0.6]).view([1, 3]);
        let labels = Tensor::from_slice(&[0.5, 0.5, 0.0]).view([1, 3]);
        let moved = Vec::<f64>::try_from(reweighted(&labels, &q).view(-1)).unwrap();
        assert!((moved[0] - 0.25).abs() < 1e-12 && (moved[1] - 0.75).abs() < 1e-12 && moved[2] == 0.0);
    }

    #[test]
    fn targets_are_mixed_like_the_samples_after_the_update_and_only_the_memory_s_rows_move() {
        let memory = TargetMemory::new(3, 2, Device::Cpu);
        let peer = Tensor::from_slice(&[500f32, 0.0, 0.0, 500.0]).view([2, 2]).set_requires_grad(true);
        let (index, perm) = (Tensor::from_slice(&[2i64, 0]), Tensor::from_slice(&[1i64, 0]));
        let q = mixed_targets(&memory, &index, &peer, 0.0, &perm, &Tensor::from(0.75f32));
        assert_eq!(Vec::<f32>::try_from(q.view(-1)).unwrap(), [0.75, 0.25, 0.25, 0.75]);
        assert!(!q.requires_grad());
        assert_eq!(Vec::<f32>::try_from(memory.rows().get(1)).unwrap(), [0.0, 0.0]);
        assert_eq!(Vec::<f32>::try_from(memory.rows().get(2)).unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn one_hot_labels_without_a_ramp_give_the_plain_loss_on_the_same_target() {
        let plus = Plus { lambda: 3.0, coef_step: 0, reweight_labels: false, clamp: 1e-4 };
        let elr = super::super::loss::Elr::default();
        let z = Tensor::from_slice(&[0.2, 1.5, -0.4]).view([1, 3]);
        let memory = TargetMemory::restore(&Tensor::from_slice(&[0.3, 0.1, 0.2]).view([1, 3]));
        let zero = Tensor::from_slice(&[0i64]);
        let plain = elr.loss(&z, &zero, &zero, &memory);
        let labels = Tensor::from_slice(&[1.0, 0.0, 0.0]).view([1, 3]);
        let other = plus.loss(&z, &labels, memory.rows(), 1);
        assert!((f64::try_from(plain.loss()).unwrap() - f64::try_from(other.loss()).unwrap()).abs() < 1e-12);
        assert_eq!(other.loss().kind(), Kind::Double);
    }
}
