// An accelerator's queue and memory, through libtorch's device-neutral doors: no CUDA header is needed to build this.

#include "bridge.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

// Waits until everything queued on the device is done.
extern "C" Message reglab_synchronize(int device_type, int device_index) {
  return guarded([&] {
    c10::impl::VirtualGuardImpl(static_cast<at::DeviceType>(device_type)).synchronizeDevice(device_index);
  });
}

static c10::DeviceAllocator* allocator(at::DeviceType device_type) {
  at::globalContext().lazyInitDevice(device_type);
  return at::getDeviceAllocator(device_type);
}

// The most bytes that tensors held at once since the start or the last reset.
extern "C" Message reglab_peak_memory(int device_type, int device_index, int64_t* bytes) {
  return guarded([&] {
    const auto stats = allocator(static_cast<at::DeviceType>(device_type))->getDeviceStats(device_index);
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = stats.allocated_bytes[all].peak;
  });
}

extern "C" Message reglab_reset_peak_memory(int device_type, int device_index) {
  return guarded([&] { allocator(static_cast<at::DeviceType>(device_type))->resetPeakStats(device_index); });
}
