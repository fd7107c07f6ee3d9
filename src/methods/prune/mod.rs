//! `reglab prune`: remove channels and weights.

mod freeze;
pub mod wgsef;
