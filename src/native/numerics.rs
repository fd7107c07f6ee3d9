//! Process-wide switches between speed and repeatability or precision.

use anyhow::Result;

use super::{Message, check};

unsafe extern "C" {
    fn reglab_set_deterministic(on: bool, warn_only: bool) -> Message;
    fn reglab_set_cudnn_benchmark(on: bool) -> Message;
    fn reglab_set_tf32(on: bool) -> Message;
}

/// Picks kernels that give the same numbers every time. Where an operation has none, it warns (`warn_only`) or fails.
pub fn set_deterministic(on: bool, warn_only: bool) -> Result<()> {
    unsafe { check(reglab_set_deterministic(on, warn_only)) }
}

/// Lets cuDNN time its kernels for each new shape and keep the fastest: quicker, but two runs may pick different ones.
pub fn set_cudnn_benchmark(on: bool) -> Result<()> {
    unsafe { check(reglab_set_cudnn_benchmark(on)) }
}

/// Lets CUDA round the factors of float32 products to 10 mantissa bits (TF32).
pub fn set_tf32(on: bool) -> Result<()> {
    unsafe { check(reglab_set_tf32(on)) }
}
