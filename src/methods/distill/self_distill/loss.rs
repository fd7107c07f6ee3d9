//! The network's loss: labels and teacher mixed, and the penalty.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

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

/// alpha MSE(s, onehot) + (1-alpha) MSE(s, t), in probabilities or logits; MSE is the mean over batch and classes. `logits` and
/// `teacher_logits` [B,C], `labels` i64[B]; the teacher gets no gradient.
pub fn data_loss(logits: &Tensor, labels: &Tensor, teacher_logits: &Tensor, alpha: f64, form: Form) -> Tensor {
    let output = |logits: &Tensor| match form {
        Form::MseSoftmax => logits.softmax(-1, logits.kind()),
        Form::MseLogits => logits.shallow_clone(),
    };
    let student = output(logits);
    let teacher = output(&teacher_logits.detach());
    let onehot = labels.one_hot(logits.size()[1]).to_kind(logits.kind());
    let to = |target: &Tensor| student.mse_loss(target, tch::Reduction::Mean);
    to(&onehot) * alpha + to(&teacher) * (1.0 - alpha)
}

/// R(w) over the given tensors (0-d, of their kind).
pub fn penalty(parameters: &[Tensor], form: RegForm) -> Tensor {
    let of = |w: &Tensor| match form {
        RegForm::Squared => w.square().sum(w.kind()) * 0.5,
        RegForm::Norm => w.norm(),
    };
    match parameters.iter().map(of).reduce(|sum, term| sum + term) {
        Some(sum) => sum,
        None => Tensor::zeros([], (Kind::Float, tch::Device::Cpu)),
    }
}
