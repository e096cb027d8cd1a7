// Packs the operands of a product: a row as it is, and the right-hand matrix as the panels that a
// kernel table reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"

namespace tandem {

inline std::size_t RoundUp(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Number of floats that PackPanels writes for b [k, n].
inline std::size_t PackedSize(const KernelTable& kernels, std::size_t k, std::size_t n) {
  return k * RoundUp(n, kernels.column_tile);
}

/// Copies eight floats at a time, because a fixed size becomes two register moves. A call of memcpy
/// for each 64 bytes took a third of small products.
inline void PackRow(const float* from, std::size_t n, float* to) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) std::memcpy(to + i, from + i, 8 * sizeof(float));
  for (; i < n; ++i) to[i] = from[i];
}

/// Writes b [k, n] as panels of column_tile columns, each panel [k, column_tile], the last one
/// padded with zeros.
///
/// transposed  b is stored as [n, k], rows `stride` apart; otherwise as [k, n], rows `stride`
///   apart.
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
        PackRow(b + p * stride + first, width, panel + p * tile);
      }
    }
  }
}

/// Number of elements that PackBf16Panels writes for b [k, n].
inline std::size_t PackedBf16Size(const KernelTable& kernels, std::size_t k, std::size_t n) {
  return RoundUp(k, 2) * RoundUp(n, kernels.column_tile);
}

/// Rounds b [k, n] to bf16 and writes it in the layout of Bf16GemmBlock::b, with an odd k padded
/// with zeros. The arguments are those of PackPanels. This runs once for each weight, so it has no
/// kernel.
inline void PackBf16Panels(const KernelTable& kernels, const float* b, std::size_t stride,
                           bool transposed, std::size_t k, std::size_t n, std::uint16_t* out) {
  const std::size_t tile = kernels.column_tile;
  const std::size_t depth = RoundUp(k, 2);
  std::memset(out, 0, PackedBf16Size(kernels, k, n) * sizeof(std::uint16_t));
  for (std::size_t c = 0; c < n; ++c) {
    std::uint16_t* panel = out + c / tile * tile * depth + c % tile * 2;
    for (std::size_t p = 0; p < k; ++p) {
      const float* from = transposed ? b + c * stride + p : b + p * stride + c;
      kernels.to_bf16(from, 1, panel + p / 2 * 2 * tile + p % 2);
    }
  }
}

}  // namespace tandem
