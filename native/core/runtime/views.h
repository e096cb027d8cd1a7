// Borrowed arrays with their lengths, as callers hand them to the core; null when left out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/runtime/aligned_buffer.h"

namespace tandem {

struct FloatView {
  const float* data = nullptr;
  std::size_t size = 0;
};

struct Int32View {
  const std::int32_t* data = nullptr;
  std::size_t size = 0;
};

/// False when memory is short.
inline bool Copy(const FloatView& from, AlignedBuffer* to) {
  if (!to->Reserve(from.size)) return false;
  if (from.size > 0) std::memcpy(to->data(), from.data, from.size * sizeof(float));
  return true;
}

}  // namespace tandem
