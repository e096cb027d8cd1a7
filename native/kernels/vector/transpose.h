// Transposition in tiles of registers.
#pragma once

#include <stddef.h>

namespace tandem {

/// KernelTable::transpose over the register type V.
template <class V>
struct VectorTranspose {
  static void TransposeScalar(const float* a, size_t a_stride, size_t rows, size_t columns,
                              float* out, size_t out_stride) {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) out[c * out_stride + r] = a[r * a_stride + c];
    }
  }

  static void Transpose(const float* a, size_t a_stride, size_t rows, size_t columns, float* out,
                        size_t out_stride) {
    constexpr size_t kTile = V::kTransposeTile;
    const size_t full_columns = columns / kTile * kTile;
    size_t r = 0;
    for (; r + kTile <= rows; r += kTile) {
      const float* source = a + r * a_stride;
      for (size_t c = 0; c < full_columns; c += kTile) {
        V::TransposeTile(source + c, a_stride, out + c * out_stride + r, out_stride);
      }
      TransposeScalar(source + full_columns, a_stride, kTile, columns - full_columns,
                      out + full_columns * out_stride + r, out_stride);
    }
    TransposeScalar(a + r * a_stride, a_stride, rows - r, columns, out + r, out_stride);
  }
};

}  // namespace tandem
