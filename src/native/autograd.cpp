// Gradients as values: torch.autograd.grad, with inputs that the outputs do not depend on allowed.

#include "bridge.h"

#include <torch/csrc/autograd/autograd.h>

extern "C" Message reglab_grad(TensorPointers outputs, TensorPointers grad_outputs, size_t output_count,
                               TensorPointers inputs, size_t input_count, bool retain_graph, bool create_graph,
                               at::Tensor** gradients) {
  return guarded([&] {
    auto seeds = grad_outputs ? list(grad_outputs, output_count) : std::vector<at::Tensor>();
    const auto leaves = list(inputs, input_count);
    auto found = torch::autograd::grad(list(outputs, output_count), leaves, seeds, retain_graph, create_graph,
                                       /*allow_unused=*/true);
    for (size_t i = 0; i < input_count; ++i) {
      // A convolution may answer with channels innermost; the fused optimizers want the order of the parameter.
      if (found[i].defined() && leaves[i].is_contiguous()) {
        found[i] = found[i].contiguous();
      }
    }
    hand_over(std::move(found), gradients);
  });
}
