//! What libtorch can do and its Rust binding does not offer: gradients as values, fused optimizer steps, operations over
//! lists of tensors, generator state, autocast, device memory. One C++ file per idea with its Rust half beside it; the C++
//! side is thin and turns exceptions into errors.

mod autocast;
mod autograd;
mod compand;
mod device;
mod draw;
pub mod foreach;
pub mod fused;
mod generator;
mod numerics;

pub use autocast::Autocast;
pub use autograd::{grad, vjp};
pub use compand::compand;
pub use device::{peak_memory, reset_peak_memory, synchronize};
pub use draw::{draw_normal, draw_uniform};
pub use generator::{generator_state, set_generator_state};
pub use numerics::{set_cudnn_benchmark, set_deterministic, set_tf32};

use anyhow::{Result, bail};
use std::borrow::Borrow;
use std::ffi::{CStr, c_char, c_int, c_void};
use tch::{Device, Tensor};

/// A borrowed `at::Tensor*`; null stands for no tensor.
type RawTensor = *const c_void;

/// Null, or the message of a C++ exception, owned by the caller.
type Message = *mut c_char;

fn raw(tensor: &Tensor) -> RawTensor {
    tensor.as_ptr().cast()
}

fn raw_list<T: Borrow<Tensor>>(tensors: &[T]) -> Vec<RawTensor> {
    tensors.iter().map(|t| raw(t.borrow())).collect()
}

/// Takes ownership of a tensor that C++ handed over.
///
/// # Safety
/// `tensor` is null or a fresh `new at::Tensor` that nobody else frees.
unsafe fn owned(tensor: *mut c_void) -> Option<Tensor> {
    (!tensor.is_null()).then(|| unsafe { Tensor::from_ptr(tensor.cast()) })
}

/// Turns the answer of a C++ function into a result and frees the message.
///
/// # Safety
/// `message` is null or a C string from `malloc` that nobody else frees.
unsafe fn check(message: Message) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    unsafe { libc::free(message.cast()) };
    bail!("libtorch: {text}")
}

/// `c10::DeviceType` and the device's index.
fn device_code(device: Device) -> (c_int, c_int) {
    match device {
        Device::Cpu => (0, 0),
        Device::Cuda(index) => (1, index as c_int),
        Device::Vulkan => (10, 0),
        Device::Mps => (13, 0),
    }
}
