//! Data: label noise and mixing of samples.

pub mod mixup;
pub mod noise;
