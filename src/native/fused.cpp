// Optimizer steps over all parameters at once, in place and outside autograd. The learning rate is a one-value tensor on
// the parameters' device (or on the host), so that a captured step can be replayed with another rate.

#include "bridge.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_addcdiv.h>
#include <ATen/ops/_foreach_addcmul.h>
#include <ATen/ops/_foreach_div.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_sqrt.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>

using Tensors = std::vector<at::Tensor>;

// The kernels walk memory in order and check neither layout nor type: a gradient that is expanded (the gradient of a
// sum), transposed or of another type is copied into its parameter's layout first.
static Tensors in_layout_of(const Tensors& params, Tensors grads) {
  for (size_t i = 0; i < params.size(); ++i) {
    const auto& param = params[i];
    auto& grad = grads[i];
    TORCH_CHECK(grad.sizes() == param.sizes(), "a gradient of shape ", grad.sizes(), " for a parameter of shape ",
                param.sizes());
    TORCH_CHECK(param.is_non_overlapping_and_dense(), "a parameter with overlapping memory or gaps");
    const bool same_order = grad.strides() == param.strides() || (grad.is_contiguous() && param.is_contiguous());
    if (!same_order || grad.scalar_type() != param.scalar_type()) {
      grad = at::empty_like(param).copy_(grad);
    }
  }
  return grads;
}

// `momentum_buffers` is null when momentum = 0. On the first step the buffers are overwritten with the gradients.
extern "C" Message reglab_fused_sgd(TensorPointers params, TensorPointers grads, TensorPointers momentum_buffers,
                                    size_t count, const at::Tensor* lr, double weight_decay, double momentum,
                                    double dampening, bool nesterov, bool is_first_step) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto p = list(params, count);
    const auto buffers = momentum_buffers ? list(momentum_buffers, count) : Tensors();
    at::_fused_sgd_(p, in_layout_of(p, list(grads, count)), buffers, weight_decay, momentum, *lr, dampening, nesterov,
                    /*maximize=*/false, is_first_step);
  });
}

// Both kinds of weight decay: added to the gradient (Adam), or apart from it (AdamW). `steps` are advanced by one first.
extern "C" Message reglab_fused_adam(TensorPointers params, TensorPointers grads, TensorPointers exp_avgs,
                                     TensorPointers exp_avg_sqs, TensorPointers steps, size_t count,
                                     const at::Tensor* lr, double beta1, double beta2, double weight_decay, double eps,
                                     bool decoupled) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto p = list(params, count);
    const auto t = list(steps, count);
    at::_foreach_add_(t, 1);
    const auto step = [&](auto kernel) {
      kernel(p, in_layout_of(p, list(grads, count)), list(exp_avgs, count), list(exp_avg_sqs, count), Tensors(), t, *lr,
             beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
    };
    if (decoupled) {
      step([](auto&&... given) { at::_fused_adamw_(given...); });
    } else {
      step([](auto&&... given) { at::_fused_adam_(given...); });
    }
  });
}

// libtorch has no fused RMSprop: this is torch.optim.RMSprop in its multi-tensor form. `grad_avgs` is null unless
// centered, `momentum_buffers` is null when momentum = 0.
extern "C" Message reglab_rmsprop(TensorPointers params, TensorPointers grads, TensorPointers square_avgs,
                                  TensorPointers grad_avgs, TensorPointers momentum_buffers, size_t count,
                                  const at::Tensor* lr, double alpha, double eps, double weight_decay, double momentum) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto p = list(params, count);
    const auto squares = list(square_avgs, count);
    auto g = list(grads, count);
    if (weight_decay != 0) {
      g = at::_foreach_add(g, p, weight_decay);
    }
    at::_foreach_mul_(squares, alpha);
    at::_foreach_addcmul_(squares, g, g, 1 - alpha);
    Tensors denominators;
    if (grad_avgs) {
      const auto means = list(grad_avgs, count);
      at::_foreach_lerp_(means, g, 1 - alpha);
      denominators = at::_foreach_addcmul(squares, means, means, -1);
      at::_foreach_sqrt_(denominators);
    } else {
      denominators = at::_foreach_sqrt(squares);
    }
    at::_foreach_add_(denominators, eps);
    if (momentum_buffers) {
      const auto buffers = list(momentum_buffers, count);
      at::_foreach_mul_(buffers, momentum);
      at::_foreach_addcdiv_(buffers, g, denominators);
      at::_foreach_sub_(p, at::_foreach_mul(buffers, *lr));
    } else {
      at::_foreach_div_(denominators, *lr);
      at::_foreach_addcdiv_(p, g, denominators, -1);
    }
  });
}
