// Packing of the right-hand matrix into the panels a kernel table wants.
#pragma once

#include <cstddef>
#include <cstring>

#include "kernels/kernels.h"

namespace tandem {

inline std::size_t RoundUp(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Floats that PackPanels writes for b [k, n].
inline std::size_t PackedSize(const KernelTable& kernels, std::size_t k, std::size_t n) {
  return k * RoundUp(n, kernels.column_tile);
}

/// Writes b [k, n] as panels of column_tile columns, each panel [k, column_tile], the last one padded with zeros.
///
/// transposed: b is stored as [n, k], rows `stride` apart; else [k, n], rows `stride` apart.
inline void PackPanels(const KernelTable& kernels, const float* b, std::size_t stride,
                       bool transposed, std::size_t k, std::size_t n, float* out) {
  const std::size_t tile = kernels.column_tile;
  for (std::size_t first = 0; first < n; first += tile) {
    const std::size_t width = n - first < tile ? n - first : tile;
    float* panel = out + first * k;
    if (width < tile) std::memset(panel, 0, k * tile * sizeof(float));
    if (transposed) {
      kernels.transpose(b + first * stride, stride, width, k, panel, tile);
    } else {
      for (std::size_t p = 0; p < k; ++p) {
        const float* from = b + p * stride + first;
        float* to = panel + p * tile;
        std::size_t c = 0;
        // A fixed size turns into two register moves; a call of memcpy for each 64 bytes took a third of small products.
        for (; c + 8 <= width; c += 8) std::memcpy(to + c, from + c, 8 * sizeof(float));
        for (; c < width; ++c) to[c] = from[c];
      }
    }
  }
}

}  // namespace tandem
