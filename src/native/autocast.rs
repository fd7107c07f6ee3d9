//! Mixed precision by autocast: operations that gain from a shorter type run in it.

use anyhow::{Result, bail};
use std::ffi::c_int;
use std::marker::PhantomData;
use tch::{Device, Kind};

use super::{Message, check, device_code};

unsafe extern "C" {
    fn reglab_autocast_enter(
        device_type: c_int,
        scalar_type: c_int,
        was_enabled: *mut bool,
        was_type: *mut c_int,
    ) -> Message;
    fn reglab_autocast_leave(device_type: c_int, was_enabled: bool, was_type: c_int) -> Message;
}

/// Autocast on this thread for as long as the guard lives. Guards nest; the outermost drops the cached short copies of the
/// weights, so open one a step, around forward and loss.
#[must_use = "autocast ends when the guard is dropped"]
pub struct Autocast {
    device_type: c_int,
    was_enabled: bool,
    was_type: c_int,
    /// The setting is the thread's own: the guard must not leave it.
    not_send: PhantomData<*const ()>,
}

impl Autocast {
    /// `kind` is BFloat16 or Half.
    pub fn new(device: Device, kind: Kind) -> Result<Autocast> {
        let scalar_type = match kind {
            Kind::Half => 5,
            Kind::BFloat16 => 15,
            other => bail!("autocast works in BFloat16 or Half, not in {other:?}"),
        };
        let (device_type, _) = device_code(device);
        let mut guard = Autocast { device_type, was_enabled: false, was_type: 0, not_send: PhantomData };
        // SAFETY: both places outlive the call.
        let message =
            unsafe { reglab_autocast_enter(device_type, scalar_type, &mut guard.was_enabled, &mut guard.was_type) };
        match unsafe { check(message) } {
            Ok(()) => Ok(guard),
            Err(error) => {
                std::mem::forget(guard); // nothing was entered
                Err(error)
            }
        }
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        let left = unsafe { check(reglab_autocast_leave(self.device_type, self.was_enabled, self.was_type)) };
        left.expect("leaving autocast only restores what was");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    #[test]
    fn products_run_in_the_short_type_inside_the_guard_only() {
        let a = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        let product = || a.matmul(&a).kind();
        {
            let _outer = Autocast::new(Device::Cpu, Kind::BFloat16).expect("autocast");
            assert_eq!(product(), Kind::BFloat16);
            {
                let _inner = Autocast::new(Device::Cpu, Kind::Half).expect("autocast");
                assert_eq!(product(), Kind::Half);
            }
            assert_eq!(product(), Kind::BFloat16);
        }
        assert_eq!(product(), Kind::Float);
        assert!(Autocast::new(Device::Cpu, Kind::Double).is_err());
    }
}
