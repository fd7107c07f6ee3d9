// The state of a device's default random generator.

#include "bridge.h"

#include <ATen/Context.h>

#include <mutex>

static at::Generator generator(int device_type, int device_index) {
  return at::globalContext().defaultGenerator(at::Device(static_cast<at::DeviceType>(device_type), device_index));
}

extern "C" Message reglab_generator_state(int device_type, int device_index, at::Tensor** state) {
  return guarded([&] {
    auto source = generator(device_type, device_index);
    std::lock_guard<std::mutex> lock(source.mutex());
    *state = new at::Tensor(source.get_state());
  });
}

extern "C" Message reglab_set_generator_state(int device_type, int device_index, const at::Tensor* state) {
  return guarded([&] {
    auto target = generator(device_type, device_index);
    std::lock_guard<std::mutex> lock(target.mutex());
    target.set_state(*state);
  });
}
