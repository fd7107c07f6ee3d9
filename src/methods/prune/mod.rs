//! `reglab prune`: remove channels and weights.

pub mod wgsef;
