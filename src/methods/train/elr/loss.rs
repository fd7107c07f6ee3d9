//! The ELR loss, its steps in the order of the official code. Nothing is read back from the device.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use super::memory::TargetMemory;

/// The numbers of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elr {
    /// beta in [0, 1): how much of a target row stays at a visit.
    pub beta: f64,
    /// lambda >= 0: weight of the regularizer. Too large keeps the model at its first guesses.
    pub lambda: f64,
    /// c in [0, 1/2): predictions are clamped to [c, 1-c]. Without it 1 - <t,p> reaches zero in float32.
    pub clamp: f64,
}

impl Default for Elr {
    /// CIFAR-10 with symmetric noise.
    fn default() -> Elr {
        Elr { beta: 0.7, lambda: 3.0, clamp: 1e-4 }
    }
}

/// The terms of a loss, 0-d. `reg` is never positive, so the loss is often negative, with a floor near lambda log(2c): this is
/// right.
pub struct Terms {
    pub ce: Tensor,
    pub reg: Tensor,
    /// lambda, or what its ramp has made of it.
    pub weight: f64,
}

impl Terms {
    /// lambda reg.
    pub fn pull(&self) -> Tensor {
        &self.reg * self.weight
    }

    /// CE + lambda reg.
    pub fn loss(&self) -> Tensor {
        &self.ce + self.pull()
    }
}

impl Elr {
    /// Refuses numbers outside their ranges; the error names the field.
    pub fn check(&self) -> Result<()> {
        check_beta(self.beta)?;
        check_lambda(self.lambda)?;
        check_clamp(self.clamp)
    }

    /// The loss of a batch: logits `[B, K]`, labels int64 `[B]`, dataset indices int64 `[B]` (distinct). The memory moves first
    /// and its new rows are the targets.
    pub fn loss(&self, logits: &Tensor, labels: &Tensor, index: &Tensor, memory: &TargetMemory) -> Terms {
        let log_p = log_softmax(logits, memory.rows().kind());
        let p = clamped(&log_p, self.clamp); // 1
        let t = memory.update(index, &p, self.beta); // 2
        let ce = log_p.nll_loss(labels); // 3
        let reg = pull_to_target(&t, &p); // 4
        Terms { ce, reg, weight: self.lambda } // 5
    }
}

/// log softmax(z) over the classes in the memory's type: logits under autocast may be of half precision.
pub(super) fn log_softmax(logits: &Tensor, kind: Kind) -> Tensor {
    logits.log_softmax(-1, kind)
}

/// p~ = clamp(softmax(z), c, 1-c), elementwise: rows no longer sum to one, and clamped entries have no gradient.
pub(super) fn clamped(log_p: &Tensor, c: f64) -> Tensor {
    log_p.exp().clamp(c, 1.0 - c)
}

/// mean_i log(1 - <t_i, p~_i>).
pub(super) fn pull_to_target(t: &Tensor, p: &Tensor) -> Tensor {
    let agreement = (t * p).sum_dim_intlist(&[-1i64][..], false, p.kind());
    (-agreement).log1p().mean(p.kind())
}

pub(super) fn check_beta(beta: f64) -> Result<()> {
    ensure!((0.0..1.0).contains(&beta), "beta = {beta} is outside [0, 1)");
    Ok(())
}

pub(super) fn check_lambda(lambda: f64) -> Result<()> {
    ensure!(lambda >= 0.0 && lambda.is_finite(), "lambda = {lambda} must not be negative");
    Ok(())
}

pub(super) fn check_clamp(clamp: f64) -> Result<()> {
    ensure!((0.0..0.5).contains(&clamp), "clamp = {clamp} is outside [0, 0.5)");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_confident_model_that_agrees_with_its_memory_has_a_negative_loss_and_no_nan_in_float32() {
        let elr = Elr::default();
        let memory = TargetMemory::new(3, 10, Device::Cpu);
        let (index, labels) = (Tensor::from_slice(&[0i64, 2]), Tensor::from_slice(&[4i64, 1]));
        let logits = (crate::data::mixup::one_hot(&labels, 10, Kind::Float) * 200.0).set_requires_grad(true);
        let mut loss = f64::NAN;
        for _ in 0..60 {
            let terms = elr.loss(&logits, &labels, &index, &memory);
            let total = terms.loss();
            let gradient = Tensor::run_backward(&[&total], &[&logits], false, false).remove(0);
            assert_eq!(gradient.isfinite().all().int64_value(&[]), 1);
            loss = f64::try_from(total).unwrap();
        }
        assert!(loss < -20.0 && loss.is_finite(), "{loss}"); // 3 log(about 1e-3)
    }

    #[test]
    fn without_the_clamp_float32_breaks_which_is_what_the_clamp_is_for() {
        let elr = Elr { clamp: 0.0, beta: 0.0, ..Elr::default() };
        let memory = TargetMemory::new(1, 2, Device::Cpu);
        let logits = Tensor::from_slice(&[200f32, 0.0]).view([1, 2]);
        let terms = elr.loss(&logits, &Tensor::from_slice(&[0i64]), &Tensor::from_slice(&[0i64]), &memory);
        assert!(f64::try_from(terms.loss()).unwrap().is_infinite());
    }

    #[test]
    fn the_gradient_is_that_of_the_analysis_where_nothing_is_clamped() {
        let elr = Elr { beta: 0.6, lambda: 2.0, clamp: 1e-9 };
        let memory = TargetMemory::restore(&Tensor::from_slice(&[0.1, 0.2, 0.5, 0.3, 0.3, 0.2]).view([2, 3]));
        let z = Tensor::from_slice(&[0.3, -0.2, 1.0, 0.5, 0.1, -0.7]).view([2, 3]).set_requires_grad(true);
        let labels = Tensor::from_slice(&[0i64, 1]);
        let terms = elr.loss(&z, &labels, &Tensor::from_slice(&[1i64, 0]), &memory);
        let gradient = Tensor::run_backward(&[terms.loss()], &[&z], false, false).remove(0);
        let (p, t) = (z.detach().softmax(-1, Kind::Double), memory.rows().flip([0]));
        // g_c = p_c / (1 - <p,t>) sum_k (t_k - t_c) p_k = p_c (<p,t> - t_c) / (1 - <p,t>)
        let agreement = (&p * &t).sum_dim_intlist(&[1i64][..], true, Kind::Double);
        let g = &p * (&agreement - &t) / (1.0 - &agreement);
        let y = Tensor::from_slice(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).view([2, 3]);
        let expected: Tensor = (&p - y + g * 2.0) / 2.0;
        assert!(f64::try_from((&gradient - &expected).abs().max()).unwrap() < 1e-9);
    }

    #[test]
    fn half_precision_logits_are_computed_in_the_memory_s_type() {
        let memory = TargetMemory::new(1, 3, Device::Cpu);
        let logits = Tensor::from_slice(&[1f32, 2.0, 3.0]).view([1, 3]).to_kind(Kind::BFloat16);
        let zero = Tensor::from_slice(&[0i64]);
        assert_eq!(Elr::default().loss(&logits, &zero, &zero, &memory).loss().kind(), Kind::Float);
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        let refusal = |elr: Elr| elr.check().expect_err("must be refused").to_string();
        assert!(refusal(Elr { beta: 1.0, ..Elr::default() }).contains("beta = 1"));
        assert!(refusal(Elr { lambda: -0.1, ..Elr::default() }).contains("lambda = -0.1"));
        assert!(refusal(Elr { clamp: 0.5, ..Elr::default() }).contains("clamp = 0.5"));
        assert!(refusal(Elr { beta: f64::NAN, ..Elr::default() }).contains("beta = NaN"));
    }
}
