//! The methods, one folder a verb.

pub mod continual;

use crate::ops::Op;

/// The ops of all methods and of what they share.
pub fn ops() -> Vec<Op> {
    continual::ops()
}
