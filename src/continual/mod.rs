//! Continual learning, shared by every method under `reglab continual`: a network meets T tasks one after the other,
//! sees the training data of the current one only, and is tested on all tasks met so far.
//!
//! | file | what it holds |
//! |---|---|
//! | [`stream`] | the tasks: class order and split, scenarios, what a task's samples and columns are |
//! | [`transform`] | pixel permutations and rotations: the domains of a domain-incremental stream |
//! | [`heads`] | which columns of the head count; accuracies of one pass in two scenarios |
//! | [`memory`] | replay buffers |
//! | [`anchor`] | the quadratic pull towards old weights, by any importance |
//! | [`memory_gradient`] | the gradient of the loss on stored samples |
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
//! | [`new_task`] | the new task's own cross entropy |
//! | [`protocol`] | the tasks as phases of training, the accuracy matrix at their ends |
//! | [`evaluator`] | the accuracy on all seen tasks every rho steps |
//! | [`gradients`] | norms of the plasticity and the stability part of the gradient |
//! | [`series`] | rows measured on the device and fetched together |
//! | [`replay`] | a memory that is filled at task ends, and the loss on its samples |
//! | [`baselines`] | the learners that every method is compared with |
//! | [`results`] | the metrics and pictures of a finished stream |
//!
//! # Writing a learner
//!
//! [`protocol::Protocol::learn`] does the rest: streams, scenarios, tests, metrics, pictures, resume. A learner is a struct with
//! two impls; [`baselines::er`] is the one to copy.
//!
//! - `impl Doors` ([`crate::train::Doors`]): what happens in a step. The new task's cross entropy is there as the term `ce`:
//!   leave it, weigh it (`terms.replace("ce", ..)`), add terms of your own under the names that `terms` announces; change
//!   gradients in `grads`; show other weights in `view`. All that must survive a kill goes into `state` and `load_state`.
//! - `impl Learner` ([`protocol::Learner`]): what happens between tasks. `task_start` and `task_end` are given the task's
//!   samples, the network, and [`output::Output`], which knows the columns of the head; `local` asks for the softmax over the
//!   task's own columns; `groups` says what is trained; `memory` says what is remembered.
//! - Rehearsal: own a [`replay::Replay`] (`start`, `fill`, `draw`, `cross_entropy`, `gradient`).
//! - A quadratic penalty: implement [`anchor::Importance`] alone, as [`baselines::ewc`] does.
//!
//! The method's `run` then is that of stability-gap: load the [`tasks::Tasks`], build the network, make the learner (or the
//! baseline that [`baselines::Baseline`] names), and let the protocol learn.

pub mod anchor;
pub mod baselines;
pub mod config;
pub mod curves;
pub mod evaluator;
pub mod flat;
pub mod gradients;
pub mod heads;
pub mod memory;
pub mod memory_gradient;
pub mod metrics;
pub mod new_task;
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
