//! `reglab prune`: remove channels and weights.

mod freeze;
pub mod mask_sparsity;
pub mod polarization;
pub mod wgsef;
