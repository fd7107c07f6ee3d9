// Process-wide switches between speed and repeatability or precision.

#include "bridge.h"

#include <ATen/Context.h>

extern "C" Message reglab_set_deterministic(bool on, bool warn_only) {
  return guarded([&] {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(on, warn_only);
    context.setDeterministicCuDNN(on);
    // Filling fresh memory guards against reading it before writing; it costs a kernel an allocation and changes no result.
    context.setDeterministicFillUninitializedMemory(false);
  });
}

extern "C" Message reglab_set_cudnn_benchmark(bool on) {
  return guarded([&] { at::globalContext().setBenchmarkCuDNN(on); });
}

extern "C" Message reglab_set_tf32(bool on) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(on);
    at::globalContext().setAllowTF32CuDNN(on);
  });
}
