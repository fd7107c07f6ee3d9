//! The state of a device's default random generator: what a checkpoint keeps.

use anyhow::Result;
use std::ffi::{c_int, c_void};
use tch::{Device, Tensor};

use super::{Message, RawTensor, check, device_code, owned, raw};

unsafe extern "C" {
    fn reglab_generator_state(device_type: c_int, device_index: c_int, state: *mut *mut c_void) -> Message;
    fn reglab_set_generator_state(device_type: c_int, device_index: c_int, state: RawTensor) -> Message;
}

/// The generator's state as uint8 values on the host.
pub fn generator_state(device: Device) -> Result<Tensor> {
    let (device_type, index) = device_code(device);
    let mut state = std::ptr::null_mut();
    // SAFETY: on success the state is a fresh tensor.
    unsafe {
        check(reglab_generator_state(device_type, index, &mut state))?;
        Ok(owned(state).expect("a state when there is no error"))
    }
}

/// Puts back a state that [`generator_state`] gave for the same kind of device.
pub fn set_generator_state(device: Device, state: &Tensor) -> Result<()> {
    let (device_type, index) = device_code(device);
    // SAFETY: the state is a live tensor; libtorch checks its type and length.
    unsafe { check(reglab_set_generator_state(device_type, index, raw(state))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_state_is_an_error() {
        assert!(set_generator_state(Device::Cpu, &Tensor::from_slice(&[1u8, 2])).is_err());
        assert!(set_generator_state(Device::Cpu, &Tensor::from_slice(&[1f32])).is_err());
    }
}
