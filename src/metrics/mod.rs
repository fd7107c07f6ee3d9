//! What is measured on networks and their outputs.

pub mod classification;
pub mod cost;
pub mod curvature;
pub mod latency;
pub mod sparsity;
