// Gradients as values: torch.autograd.grad, with inputs that the outputs do not depend on allowed.

#include "bridge.h"

#include <torch/csrc/autograd/autograd.h>

extern "C" Message reglab_grad(TensorPointers outputs, TensorPointers grad_outputs, size_t output_count,
                               TensorPointers inputs, size_t input_count, bool retain_graph, bool create_graph,
                               at::Tensor** gradients) {
  return guarded([&] {
    auto seeds = grad_outputs ? list(grad_outputs, output_count) : std::vector<at::Tensor>();
    hand_over(torch::autograd::grad(list(outputs, output_count), list(inputs, input_count), seeds, retain_graph,
                                    create_graph, /*allow_unused=*/true),
              gradients);
  });
}
