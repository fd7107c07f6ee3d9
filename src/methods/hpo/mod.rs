//! Tuning of hyper-parameters.

pub mod maid;

use crate::ops::Op;

pub fn ops() -> Vec<Op> {
    maid::OPS.to_vec()
}
