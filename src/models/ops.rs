//! Networks as ops: a checkpoint file against stored outputs.

use anyhow::{Context, Result, ensure};

use super::checkpoint;
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[Op::new("model.logits", logits)];

/// Logits `y` [N, classes] in evaluation mode of the network in the file `checkpoint`, which lies beside the case, for `x`
/// [N, ...].
fn logits(case: &Case) -> Result<Outputs> {
    let (x, name) = (case.tensor("x")?, case.str("checkpoint")?);
    ensure!(!name.contains('/'), "checkpoint = {name:?} should be the name of a file beside the case");
    let net = checkpoint::load(&case.folder().join(name), x.device()).context("checkpoint")?;
    Ok(Outputs::new().with("y", net.evaluate(&x)))
}
