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
//!
//! And the part that runs:
//!
//! | file | what it holds |
//! |---|---|
//! | [`config`] | the `[stream]` and `[evaluation]` tables |
//! | [`tasks`] | the samples of every task on the device |
//! | [`output`] | the head as the scenario uses it, for the loss and for answers |
//! | [`protocol`] | the tasks as phases of training, the accuracy matrix at their ends |
//! | [`evaluator`] | the accuracy on all seen tasks every rho steps |
//! | [`gradients`] | norms of the plasticity and the stability part of the gradient |
//! | [`series`] | rows measured on the device and fetched together |
//! | [`replay`] | a memory that is filled at task ends |
//! | [`results`] | the metrics and pictures of a finished stream |

pub mod anchor;
pub mod config;
pub mod curves;
pub mod evaluator;
pub mod flat;
pub mod gradients;
pub mod heads;
pub mod memory;
pub mod metrics;
mod ops;
pub mod output;
pub mod protocol;
pub mod replay;
pub mod results;
pub mod series;
pub mod stream;
pub mod tasks;
pub mod transform;

pub use ops::OPS;
