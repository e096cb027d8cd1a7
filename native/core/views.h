// Borrowed arrays with their lengths, as callers hand them to the core; null when left out.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem {

struct FloatView {
  const float* data = nullptr;
  std::size_t size = 0;
};

struct Int32View {
  const std::int32_t* data = nullptr;
  std::size_t size = 0;
};

}  // namespace tandem
