//! The network's loss: labels and teacher mixed, and the penalty.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// What is compared with the targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Probabilities: softmax(s) with the one-hot labels and with softmax(t).
    #[default]
    MseSoftmax,
    /// Logits: s with the one-hot labels and with t.
    MseLogits,
}

/// The penalty R(w).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegForm {
    /// 1/2 sum w^2, the paper's.
    #[default]
    Squared,
    /// The sum of the un-squared norms of all parameter tensors, the published code's.
    Norm,
}

impl Form {
    /// What is compared: probabilities or the logits themselves.
    pub fn output(self, logits: &Tensor) -> Tensor {
        match self {
            Form::MseSoftmax => logits.softmax(-1, logits.kind()),
            Form::MseLogits => logits.shallow_clone(),
        }
    }
}

/// alpha MSE(s, onehot) + (1-alpha) MSE(s, t), in probabilities or logits; MSE is the mean over batch and classes. `logits` and
/// `teacher` (logits; none for training on labels alone) [B,C], `labels` i64[B]; the teacher gets no gradient.
pub fn data_loss(logits: &Tensor, labels: &Tensor, teacher: Option<&Tensor>, alpha: f64, form: Form) -> Tensor {
    let student = form.output(logits);
    let to = |target: &Tensor| student.mse_loss(target, tch::Reduction::Mean);
    let onehot = labels.one_hot(logits.size()[1]).to_kind(logits.kind());
    match teacher {
        None => to(&onehot),
        Some(teacher) => to(&onehot) * alpha + to(&form.output(&teacher.detach())) * (1.0 - alpha),
    }
}

/// R(w) over the given tensors, of which there must be one (0-d, of their kind).
pub fn penalty(parameters: &[Tensor], form: RegForm) -> Tensor {
    let kind = parameters[0].kind();
    match form {
        // One flat vector: a few launches, however many tensors there are.
        RegForm::Squared => {
            let flat: Vec<Tensor> = parameters.iter().map(|w| w.reshape(-1)).collect();
            Tensor::cat(&flat, 0).square().sum(kind) * 0.5
        }
        RegForm::Norm => {
            let norms: Vec<Tensor> = parameters.iter().map(Tensor::norm).collect();
            Tensor::stack(&norms, 0).sum(kind)
        }
    }
}
