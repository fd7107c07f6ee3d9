// Random values from a generator of their own, which no other thread can disturb.

#include "bridge.h"

#include <ATen/CPUGeneratorImpl.h>

extern "C" Message reglab_draw_uniform(const at::Tensor* tensor, double low, double high, uint64_t seed) {
  return guarded([&] { at::Tensor(*tensor).uniform_(low, high, at::detail::createCPUGenerator(seed)); });
}

extern "C" Message reglab_draw_normal(const at::Tensor* tensor, double mean, double std, uint64_t seed) {
  return guarded([&] { at::Tensor(*tensor).normal_(mean, std, at::detail::createCPUGenerator(seed)); });
}
