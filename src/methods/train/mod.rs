//! `reglab train`: regularize an ordinary training run.

pub mod adamixup;
pub mod elr;
pub mod lm;
pub mod orth_conv;
pub mod weight_compander;
