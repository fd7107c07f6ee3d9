// One elementwise operation over a list of tensors, outside autograd: a few kernel launches on CUDA
// whatever the number of tensors.

#include "bridge.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_addcdiv.h>
#include <ATen/ops/_foreach_addcmul.h>
#include <ATen/ops/_foreach_clamp_max.h>
#include <ATen/ops/_foreach_clamp_min.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sqrt.h>

extern "C" {

Message reglab_foreach_add(TensorPointers a, TensorPointers b, size_t count, double alpha) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_add_(list(a, count), list(b, count), alpha);
  });
}

Message reglab_foreach_mul(TensorPointers a, size_t count, double factor) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_mul_(list(a, count), factor);
  });
}

Message reglab_foreach_lerp(TensorPointers a, TensorPointers b, size_t count, double weight) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_lerp_(list(a, count), list(b, count), weight);
  });
}

Message reglab_foreach_addcmul(TensorPointers a, TensorPointers b, TensorPointers c, size_t count, double value) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_addcmul_(list(a, count), list(b, count), list(c, count), value);
  });
}

Message reglab_foreach_addcdiv(TensorPointers a, TensorPointers b, TensorPointers c, size_t count, double value) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_addcdiv_(list(a, count), list(b, count), list(c, count), value);
  });
}

Message reglab_foreach_sqrt(TensorPointers a, size_t count) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_sqrt_(list(a, count));
  });
}

// New tensors a * factor.
Message reglab_foreach_scaled(TensorPointers a, size_t count, const at::Tensor* factor, at::Tensor** scaled) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    hand_over(at::_foreach_mul(list(a, count), *factor), scaled);
  });
}

// New tensors min(max(a, low), high).
Message reglab_foreach_clamped(TensorPointers a, size_t count, double low, double high, at::Tensor** clamped) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto tensors = at::_foreach_clamp_min(list(a, count), low);
    at::_foreach_clamp_max_(tensors, high);
    hand_over(std::move(tensors), clamped);
  });
}

// The `order`-norm of each tensor, as one-value tensors on its device.
Message reglab_foreach_norm(TensorPointers a, size_t count, double order, at::Tensor** norms) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    hand_over(at::_foreach_norm(list(a, count), order), norms);
  });
}

}
