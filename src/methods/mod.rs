//! The methods, each under its verb. A method imports what it shares with others from below, never from another method.

pub mod prune;

use crate::ops::Op;

/// The core functions of all methods, by name: what stored cases are run against.
pub fn ops() -> Vec<Op> {
    [crate::pruning::OPS, prune::wgsef::OPS].concat()
}
