//! The methods, one folder a verb.

pub mod train;

use crate::ops::Op;

/// Every named core function, for the numeric ground truth.
pub fn ops() -> Vec<Op> {
    [train::elr::OPS, train::weight_compander::OPS].concat()
}
