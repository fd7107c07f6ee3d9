//! `reglab train`: regularize an ordinary training run.

pub mod elr;
pub mod lm;
pub mod weight_compander;
