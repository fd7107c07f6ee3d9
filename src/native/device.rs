//! An accelerator's queue and memory.

use anyhow::Result;
use std::ffi::c_int;
use tch::Device;

use super::{Message, check, device_code};

unsafe extern "C" {
    fn reglab_synchronize(device_type: c_int, device_index: c_int) -> Message;
    fn reglab_peak_memory(device_type: c_int, device_index: c_int, bytes: *mut i64) -> Message;
    fn reglab_reset_peak_memory(device_type: c_int, device_index: c_int) -> Message;
}

/// Waits until everything queued on the device is done; a host device has no queue.
pub fn synchronize(device: Device) -> Result<()> {
    if device == Device::Cpu {
        return Ok(());
    }
    let (device_type, index) = device_code(device);
    unsafe { check(reglab_synchronize(device_type, index)) }
}

/// The most bytes that tensors held at once on a CUDA device since the start or the last reset; None on others.
pub fn peak_memory(device: Device) -> Result<Option<u64>> {
    if !device.is_cuda() {
        return Ok(None);
    }
    let (device_type, index) = device_code(device);
    let mut bytes = 0;
    // SAFETY: the place outlives the call.
    unsafe { check(reglab_peak_memory(device_type, index, &mut bytes))? };
    Ok(Some(bytes as u64))
}

/// Starts the count of [`peak_memory`] anew.
pub fn reset_peak_memory(device: Device) -> Result<()> {
    if !device.is_cuda() {
        return Ok(());
    }
    let (device_type, index) = device_code(device);
    unsafe { check(reglab_reset_peak_memory(device_type, index)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_no_queue_and_a_missing_card_is_an_error() {
        synchronize(Device::Cpu).expect("nothing to wait for");
        assert_eq!(peak_memory(Device::Cpu).expect("no error"), None);
        let absent = Device::Cuda(99);
        assert!(synchronize(absent).is_err());
        assert!(peak_memory(absent).is_err());
        assert!(reset_peak_memory(absent).is_err());
    }
}
