//! Losses against label noise that ELR is compared with. p = softmax(z), y the observed class, all means over the batch.
//! Nothing is read back from the device.

use anyhow::{Result, bail, ensure};
use tch::{Kind, Tensor};

pub enum RobustLoss {
    /// -log p_y.
    Ce,
    /// -sum_c (beta onehot_c + (1-beta) p_c) log p_c; gradient flows through p_c in the target (Reed et al. 2015).
    BootstrapSoft { beta: f64 },
    /// The same with the one-hot arg max of p, a constant.
    BootstrapHard { beta: f64 },
    /// -log (T^t p)_y, T[i][j] = P(observed j | true i) `[K, K]` (Patrini et al. 2017).
    Forward { transition: Tensor },
    /// (1 - p_y^q) / q, q in (0, 1]; 1 is half the mean absolute error (Zhang and Sabuncu 2018).
    Gce { q: f64 },
    /// alpha CE + beta RCE, RCE = -log0 (1 - p_y), where the constant log0 < 0 stands for log 0 (Wang et al. 2019).
    Sce { alpha: f64, beta: f64, log0: f64 },
}

impl RobustLoss {
    /// "log 0" of the symmetric cross-entropy in the paper; its authors' code has log(1e-4) = -9.21.
    pub const SCE_LOG0: f64 = -4.0;

    /// Refuses numbers outside their ranges and a transition matrix that is none for `classes` classes; the error names the
    /// field. Reads the matrix: call it once, before training.
    pub fn check(&self, classes: i64) -> Result<()> {
        match self {
            RobustLoss::Ce => {}
            RobustLoss::BootstrapSoft { beta } | RobustLoss::BootstrapHard { beta } => {
                ensure!((0.0..=1.0).contains(beta), "bootstrap beta = {beta} is outside [0, 1]");
            }
            RobustLoss::Forward { transition } => check_transition(transition, classes)?,
            RobustLoss::Gce { q } => ensure!(*q > 0.0 && *q <= 1.0, "q = {q} is outside (0, 1]"),
            RobustLoss::Sce { alpha, beta, log0 } => {
                ensure!(*alpha >= 0.0 && alpha.is_finite(), "alpha = {alpha} must not be negative");
                ensure!(*beta >= 0.0 && beta.is_finite(), "beta = {beta} must not be negative");
                ensure!(*log0 < 0.0 && log0.is_finite(), "log0 = {log0} must be negative");
            }
        }
        Ok(())
    }

    /// The mean loss (0-d) of logits `[B, K]` with labels int64 `[B]`, in float32 at least.
    pub fn loss(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        let kind = if logits.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let log_p = logits.log_softmax(-1, kind);
        let ce = || log_p.nll_loss(labels);
        let log_p_y = || log_p.gather(-1, &labels.unsqueeze(-1), false);
        match self {
            RobustLoss::Ce => ce(),
            RobustLoss::BootstrapSoft { beta } => {
                let own = (log_p.exp() * &log_p).sum_dim_intlist(&[-1i64][..], false, kind).mean(kind);
                ce() * *beta - own * (1.0 - beta)
            }
            RobustLoss::BootstrapHard { beta } => {
                let guess = log_p.argmax(-1, false);
                ce() * *beta + log_p.nll_loss(&guess) * (1.0 - beta)
            }
            RobustLoss::Forward { transition } => {
                // log sum_i p_i T_iy from logarithms: p may underflow where T is zero elsewhere.
                let log_column = transition.to_kind(kind).log().tr().index_select(0, labels);
                -(&log_p + log_column).logsumexp([-1i64], false).mean(kind)
            }
            RobustLoss::Gce { q } => (log_p_y() * *q).exp().g_sub_scalar(1.0).mean(kind) / -*q,
            RobustLoss::Sce { alpha, beta, log0 } => {
                let missing = -log_p_y().expm1().mean(kind); // 1 - p_y
                ce() * *alpha - missing * (*beta * *log0)
            }
        }
    }
}

fn check_transition(transition: &Tensor, classes: i64) -> Result<()> {
    let size = transition.size();
    ensure!(size == [classes, classes], "transition has shape {size:?}, expected [{classes}, {classes}]");
    let rows = Vec::<Vec<f64>>::try_from(transition.to_kind(Kind::Double))?;
    for (i, row) in rows.iter().enumerate() {
        if let Some(p) = row.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            bail!("transition row {i} holds {p}, which is no probability");
        }
        let sum: f64 = row.iter().sum();
        ensure!((sum - 1.0).abs() <= 1e-6, "transition row {i} sums to {sum}, must be 1");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Tensor {
        Tensor::from_slice(&[1.0, -0.5, 0.3, 0.2, 2.0, -1.0]).view([2, 3])
    }

    fn labels() -> Tensor {
        Tensor::from_slice(&[2i64, 0])
    }

    fn value(loss: &RobustLoss) -> f64 {
        f64::try_from(loss.loss(&logits(), &labels())).unwrap()
    }

    #[test]
    fn each_rival_meets_a_known_loss_at_the_end_of_its_range() {
        let ce = value(&RobustLoss::Ce);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(value(&RobustLoss::BootstrapSoft { beta: 1.0 }), ce);
        near(value(&RobustLoss::BootstrapHard { beta: 1.0 }), ce);
        near(value(&RobustLoss::Forward { transition: Tensor::eye(3, (Kind::Double, tch::Device::Cpu)) }), ce);
        assert!((value(&RobustLoss::Gce { q: 1e-6 }) - ce).abs() < 1e-4);
        near(value(&RobustLoss::Sce { alpha: 1.0, beta: 0.0, log0: -4.0 }), ce);
        near(value(&RobustLoss::Sce { alpha: 0.0, beta: 0.25, log0: -4.0 }), value(&RobustLoss::Gce { q: 1.0 }));
    }

    #[test]
    fn float32_losses_and_gradients_stay_finite_for_a_hopeless_prediction() {
        let transition = Tensor::from_slice(&[0.5f32, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).view([3, 3]);
        let losses = [
            RobustLoss::Ce,
            RobustLoss::BootstrapSoft { beta: 0.95 },
            RobustLoss::BootstrapHard { beta: 0.8 },
            RobustLoss::Forward { transition },
            RobustLoss::Gce { q: 0.7 },
            RobustLoss::Sce { alpha: 0.1, beta: 1.0, log0: RobustLoss::SCE_LOG0 },
        ];
        for (i, loss) in losses.iter().enumerate() {
            let z = Tensor::from_slice(&[300f32, -300.0, 0.0]).view([1, 3]).set_requires_grad(true);
            let loss = loss.loss(&z, &Tensor::from_slice(&[1i64]));
            let gradient = Tensor::run_backward(&[&loss], &[&z], false, false).remove(0);
            assert!(f64::try_from(&loss).unwrap().is_finite(), "loss {i}");
            assert_eq!(gradient.isfinite().all().int64_value(&[]), 1, "gradient {i}");
        }
    }

    #[test]
    fn a_matrix_that_is_no_transition_is_refused_with_its_row() {
        let refusal = |values: &[f64]| {
            let transition = Tensor::from_slice(values).view([2, 2]);
            RobustLoss::Forward { transition }.check(2).expect_err("must be refused").to_string()
        };
        assert!(refusal(&[0.5, 0.5, 0.5, 0.6]).contains("row 1 sums to 1.1"));
        assert!(refusal(&[1.5, -0.5, 0.5, 0.5]).contains("row 0 holds 1.5"));
        let square = RobustLoss::Forward { transition: Tensor::eye(2, (Kind::Double, tch::Device::Cpu)) };
        assert!(square.check(3).expect_err("wrong shape").to_string().contains("[3, 3]"));
    }
}
