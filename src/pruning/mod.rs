//! Structural pruning: what several methods share.

pub mod cut;
pub mod ops_network;
