//! "Continual evaluation for lifelong learning: Identifying the stability gap", De Lange, van de Ven, Tuytelaars, ICLR
//! 2023.
//!
//! An evaluation protocol: test all seen tasks after every training iteration instead of only at task ends. Right after
//! a task switch the accuracy on old tasks collapses and recovers, whatever protects them. The per-iteration metrics
//! are in [`crate::continual::curves`]; here are the learners they are run on:
//!
//! | file | learner | what it adds to the cross entropy of the current batch |
//! |---|---|---|
//! | [`er`] | experience replay | alpha CE(new) + (1 - alpha) CE(memory) |
//! | [`gem`] | gradient episodic memory | the gradient is projected so that no old task's loss rises |
//! | [`agem`] | averaged GEM | the same against one memory batch |
//! | [`ewc`] | online elastic weight consolidation | lambda sum F (theta - theta*)^2 |
//! | [`lwf`] | learning without forgetting | alpha KD from the model after the last task |
//! | [`si`] | synaptic intelligence | c sum Omega (theta - theta*)^2 |
//!
//! Where paper and official code differ: WP is the definition (the code's pruned search misses the largest rise), FORG
//! after task k averages over the tasks before k, and the record before the first update is not used by the metrics.

pub mod agem;
pub mod er;
pub mod ewc;
pub mod gem;
pub mod lwf;
mod ops;
pub mod si;

pub use ops::OPS;
