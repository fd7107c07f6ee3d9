// Mixed precision by autocast: operations that gain from a shorter type run in it.

#include "bridge.h"

#include <ATen/autocast_mode.h>

// Turns autocast on for a device type; `was_enabled` and `was_type` are what reglab_autocast_leave restores.
extern "C" Message reglab_autocast_enter(int device_type, int scalar_type, bool* was_enabled, int* was_type) {
  return guarded([&] {
    const auto device = static_cast<at::DeviceType>(device_type);
    TORCH_CHECK(at::autocast::is_autocast_available(device), "there is no mixed precision for ", device);
    *was_enabled = at::autocast::is_autocast_enabled(device);
    *was_type = static_cast<int>(at::autocast::get_autocast_dtype(device));
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(scalar_type));
    at::autocast::increment_nesting();
  });
}

// Restores what was and, at the outermost level, drops the cached short copies of the weights.
extern "C" Message reglab_autocast_leave(int device_type, bool was_enabled, int was_type) {
  return guarded([&] {
    const auto device = static_cast<at::DeviceType>(device_type);
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
    at::autocast::set_autocast_enabled(device, was_enabled);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(was_type));
  });
}
