//! reglab: published methods that regularize, prune, quantize, distill, fine-tune, continually train and tune neural
//! networks, as one program on libtorch.
//!
//! The house, from the ground up (a module imports only from those above it):
//!
//! | module | what it holds |
//! |---|---|
//! | [`rng`] | seeded host randomness, one counter-based stream a purpose |
//! | [`params`] | parameters as data: store, view, state-dict files, channel groups |
//! | [`models`] | networks as pure functions of (parameters, input) |
//! | [`bilevel`] | nested minimisation: lower solve, Hessian and mixed products, hypergradients |
//! | [`search`] | black-box search over hyper-parameters: space, samplers, pruners, journal |
//! | [`ops`] | numeric ground truth: named core functions and their stored cases |
//! | [`methods`] | the published methods, by verb |

pub mod bilevel;
pub mod methods;
pub mod models;
pub mod ops;
pub mod params;
pub mod rng;
pub mod search;
