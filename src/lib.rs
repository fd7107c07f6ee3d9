//! reglab: published methods that regularize, prune, quantize, distill, fine-tune, continually train and tune neural
//! networks, as one program on libtorch.
//!
//! The house, from the ground up (a module imports only from those above it):
//!
//! | module | what it holds |
//! |---|---|
//! | [`rng`] | seeded host randomness, one counter-based stream a purpose |
//! | [`native`] | the C++ side: gradients as values, fused optimizer steps, lists of tensors, autocast, generators |
//! | [`params`] | parameters as data: store, view, state-dict files, channel groups |
//! | [`models`] | networks as pure functions of (parameters, input) |
//! | [`train`] | optimizers, learning-rate schedules, gradient clipping, averaged weights |
//! | [`ops`] | numeric ground truth: named core functions and their stored cases |

pub mod models;
pub mod native;
pub mod ops;
pub mod params;
pub mod rng;
pub mod train;
