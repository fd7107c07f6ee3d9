//! `reglab analyze`: measure a network or its training.

pub mod dynamical_stability;
pub mod intrinsic_dim;
