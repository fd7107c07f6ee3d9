//! Evaluation: large batches, no autograd, nothing fetched before the end.

use tch::{Kind, Tensor, no_grad};

use crate::data::DeviceSet;
use crate::models::{Cx, Model};
use crate::params::View;

/// Loss and accuracy over a set.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Share of right answers, 0..1.
    pub accuracy: f64,
}

/// Samples a batch of an evaluation: as large as is useful for small images, fewer for large ones.
pub fn batch_size(set: &DeviceSet) -> usize {
    let values: i64 = set.sample_shape().iter().product();
    (4_000_000 / values.max(1)).clamp(64, 2048) as usize
}

/// All logits of a set, `[N, classes]`, in the order of the set.
pub fn logits(model: &dyn Model, view: &View, set: &DeviceSet) -> Tensor {
    logits_of(set, |x| model.forward(&Cx::eval(view), x))
}

/// The same of any forward pass.
fn logits_of(set: &DeviceSet, forward: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let parts: Vec<Tensor> =
        no_grad(|| set.batches(batch_size(set)).map(|b| forward(&b.x).to_kind(Kind::Float)).collect());
    Tensor::cat(&parts, 0)
}

pub fn evaluate(model: &dyn Model, view: &View, set: &DeviceSet) -> Evaluation {
    evaluate_pass(set, |x| model.forward(&Cx::eval(view), x))
}

/// [`evaluate`] for a forward pass of your own: with taps, say.
pub fn evaluate_pass(set: &DeviceSet, forward: impl Fn(&Tensor) -> Tensor) -> Evaluation {
    let logits = logits_of(set, forward);
    let labels = set.labels();
    no_grad(|| {
        let loss = logits.cross_entropy_for_logits(labels).to_kind(Kind::Double);
        let right = logits.argmax(1, false).eq_tensor(labels).to_kind(Kind::Double).mean(Kind::Double);
        let both = Vec::<f64>::try_from(Tensor::stack(&[loss, right], 0)).expect("two numbers");
        Evaluation { loss: both[0], accuracy: both[1] }
    })
}
