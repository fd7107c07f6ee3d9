// What every file of the C++ side shares: lists of tensors from Rust, and exceptions as messages.
//
// A tensor crosses as a pointer to at::Tensor, null where there is none. A function that can fail returns null, or the
// message of what went wrong, from malloc: the caller frees it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <vector>

using Message = char*;
using TensorPointers = at::Tensor* const*;

inline std::vector<at::Tensor> list(TensorPointers tensors, size_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    out.push_back(tensors[i] ? *tensors[i] : at::Tensor());
  }
  return out;
}

// Hands tensors over to Rust, which owns them from here; an undefined one becomes null.
inline void hand_over(std::vector<at::Tensor>&& tensors, at::Tensor** out) {
  for (auto& tensor : tensors) {
    *out++ = tensor.defined() ? new at::Tensor(std::move(tensor)) : nullptr;
  }
}

template <class Body>
Message guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an unknown C++ exception");
  }
}
