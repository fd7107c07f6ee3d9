//! What is measured on networks and their outputs.

pub mod classification;
pub mod cost;
pub mod latency;
pub mod perplexity;
pub mod sparsity;
pub mod text;
