//! The published methods, one file or folder each, under the verb that runs them.

pub mod distill;
pub mod hpo;

use crate::ops::Op;

/// The numeric core functions of all methods.
pub fn ops() -> Vec<Op> {
    [hpo::ops(), distill::ops()].concat()
}
