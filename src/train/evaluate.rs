//! Evaluation: large batches, no autograd, nothing fetched before the end.

use tch::{Kind, Reduction, Tensor, no_grad};

use crate::data::{Batch, DeviceSet};
use crate::models::decoder::IGNORED;
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

/// Samples a batch of an evaluation: as large as is useful for small images, fewer for large ones and for token labels, whose
/// logits take more memory than the input.
pub fn batch_size(set: &DeviceSet) -> usize {
    let values: i64 = set.sample_shape().iter().product();
    if set.labels().dim() > 1 {
        return (16_000_000 / (values * set.classes().len() as i64).max(1)).clamp(1, 2048) as usize;
    }
    (4_000_000 / values.max(1)).clamp(64, 2048) as usize
}

/// All logits of a set, `[N, classes]`, in the order of the set.
pub fn logits(model: &dyn Model, view: &View, set: &DeviceSet) -> Tensor {
    let pass = |x: &Tensor| model.forward(&Cx::eval(view), x).to_kind(Kind::Float);
    let parts: Vec<Tensor> = no_grad(|| set.batches(batch_size(set)).map(|b| pass(&b.x)).collect());
    Tensor::cat(&parts, 0)
}

/// Over all samples, or over all positions whose label is a token.
pub fn evaluate(model: &dyn Model, view: &View, set: &DeviceSet) -> Evaluation {
    evaluate_pass(set, |x| model.forward(&Cx::eval(view), x))
}

/// [`evaluate`] for a forward pass of your own: with taps, say.
pub fn evaluate_pass(set: &DeviceSet, forward: impl Fn(&Tensor) -> Tensor) -> Evaluation {
    no_grad(|| {
        let part = |batch: Batch| {
            let logits = forward(&batch.x).to_kind(Kind::Float);
            let (logits, labels) = (logits.flatten(0, -2), batch.y.reshape(-1));
            let loss = logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Sum, IGNORED, 0.0);
            let right = logits.argmax(1, false).eq_tensor(&labels).sum(Kind::Double);
            Tensor::stack(&[loss.to_kind(Kind::Double), right, labels.ne(IGNORED).sum(Kind::Double)], 0)
        };
        let parts: Vec<Tensor> = set.batches(batch_size(set)).map(part).collect();
        let sums = Tensor::stack(&parts, 0).sum_dim_intlist(0, false, Kind::Double);
        let sums = Vec::<f64>::try_from(sums).expect("three numbers");
        Evaluation { loss: sums[0] / sums[2], accuracy: sums[1] / sums[2] }
    })
}
