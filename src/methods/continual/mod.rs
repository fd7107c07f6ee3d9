//! Continual learning: keep what earlier tasks taught while learning the next one.

pub mod stability_gap;

use crate::ops::Op;

pub fn ops() -> Vec<Op> {
    [crate::continual::ops(), stability_gap::ops()].concat()
}
