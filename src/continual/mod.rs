//! Continual learning, shared by every method under `reglab continual`: a network meets T tasks one after the other,
//! sees the training data of the current one only, and is tested on all tasks met so far.
//!
//! | file | what it holds |
//! |---|---|
//! | [`stream`] | the tasks: class order and split, scenarios, what a task's samples and columns are |
//! | [`transform`] | pixel permutations and rotations: the domains of a domain-incremental stream |
//! | [`heads`] | which columns of the head count; accuracies of one pass in two scenarios |
//! | [`memory`] | replay buffers |
//! | [`anchor`] | the quadratic pull towards old weights |
//! | [`flat`] | a list of gradients as one vector and back |
//! | [`metrics`] | the accuracy matrix and what is read off it |
//! | [`curves`] | metrics of accuracies measured after every iteration |

pub mod anchor;
pub mod curves;
pub mod flat;
pub mod heads;
pub mod memory;
pub mod metrics;
mod ops;
pub mod stream;
pub mod transform;

pub use ops::OPS;
