//! Next-token cross entropy.

use tch::{Kind, Reduction, Tensor};

/// Labels with this value are not predicted.
pub const IGNORED: i64 = -100;

/// Mean cross entropy of logits `[B, T, V]` with labels int64 `[B, T]`, which are shifted by one here: position t predicts label
/// t + 1. Labels of -100 are left out, and so are those whose predecessor is padding (`mask` `[B, T]` is 0): after left padding the
/// first real token is no target. 0 when no label is kept.
pub fn next_token_loss(logits: &Tensor, labels: &Tensor, mask: Option<&Tensor>) -> Tensor {
    let t = labels.size()[1];
    let mut targets = labels.narrow(1, 1, t - 1);
    if let Some(mask) = mask {
        targets = targets.masked_fill(&mask.narrow(1, 0, t - 1).eq(0), IGNORED);
    }
    let targets = targets.reshape(-1);
    let logits = logits.narrow(1, 0, t - 1).flatten(0, 1);
    let logits = if logits.kind() == Kind::Double { logits } else { logits.to_kind(Kind::Float) };
    let sum = logits.cross_entropy_loss::<Tensor>(&targets, None, Reduction::Sum, IGNORED, 0.0);
    sum / targets.ne(IGNORED).sum(logits.kind()).clamp_min(1.0)
}
