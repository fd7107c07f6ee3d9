//! `reglab hpo`: tune hyper-parameters.

pub mod maid;
pub mod search;
