//! Networks as ops: a checkpoint file against stored outputs.

use anyhow::{Context, Result};

use super::checkpoint;
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[Op::new("model.logits", logits)];

/// Logits `y` [N, classes] in evaluation mode of the network in the file `checkpoint`, which lies beside the case, for `x`
/// [N, ...].
fn logits(case: &Case) -> Result<Outputs> {
    let x = case.tensor("x")?;
    let net = checkpoint::load(&case.beside("checkpoint")?, x.device()).context("checkpoint")?;
    Ok(Outputs::new().with("y", net.evaluate(&x)))
}
