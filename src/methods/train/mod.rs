//! Training-time regularizers.

pub mod elr;
pub mod weight_compander;
