//! Distillation.

pub mod self_distill;

use crate::ops::Op;

pub fn ops() -> Vec<Op> {
    self_distill::OPS.to_vec()
}
