// Rounding to bf16, and products of bf16 matrices with sums in f32.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/vector/load_int.h"

namespace tandem {

/// KernelTable::to_bf16 and gemm_bf16 over the register type V, whose DotPairs multiplies pairs.
template <class V>
struct VectorBf16 {
  using F = typename V::F;
  using Mask = typename V::Mask;
  using Pairs = typename V::Pairs;
  static constexpr size_t kLanes = V::kLanes;
  static constexpr size_t kColumnTile = 2 * kLanes;

  static uint16_t RoundOneToBf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }

  static void ToBf16(const float* a, size_t n, uint16_t* out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) V::RoundToBf16(a + i, out + i);
    for (; i < n; ++i) out[i] = RoundOneToBf16(a[i]);
  }

  /// Holds R rows by P panels of outputs in registers over the whole of k. `columns` are those of
  /// the last panel.
  template <int R, int P>
  static void Bf16Tile(const Bf16GemmBlock& g, size_t row, size_t column, size_t columns) {
    constexpr int kVectors = 2 * P;
    const ptrdiff_t panel = static_cast<ptrdiff_t>(g.k * kColumnTile);
    const ptrdiff_t a_row_stride = g.a_row_stride;
    F sums[R][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = V::Zero();
    }
    const uint16_t* a = g.a + static_cast<ptrdiff_t>(row) * a_row_stride;
    const uint16_t* b = g.b + column * g.k;
    const auto pairs_at = [&b, panel](int v) {
      return V::LoadPairs(b + (v / 2) * panel + (v % 2) * static_cast<int>(2 * kLanes));
    };
    for (size_t p = 0; p < g.k; p += 2, a += 2, b += 2 * kColumnTile) {
      // The side with fewer registers is held, and the other one streams past it.
      if constexpr (R < kVectors) {
        Pairs x[R];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) x[r] = V::BroadcastPair(LoadInt(a + r * a_row_stride));
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          const Pairs y = pairs_at(v);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) sums[r][v] = V::DotPairs(x[r], y, sums[r][v]);
        }
      } else {
        Pairs y[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) y[v] = pairs_at(v);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const Pairs x = V::BroadcastPair(LoadInt(a + r * a_row_stride));
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) sums[r][v] = V::DotPairs(x, y[v], sums[r][v]);
        }
      }
    }
    const size_t end = static_cast<size_t>(P - 1) * kColumnTile + columns;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      float* c = g.c + (static_cast<ptrdiff_t>(row) + r) * g.c_row_stride + column;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const size_t offset = static_cast<size_t>(v) * kLanes;
        if (offset >= end) break;
        F y = sums[r][v];
        if (end - offset >= kLanes) {
          if (g.accumulate) y = V::Add(y, V::Load(c + offset));
          if (g.bias != nullptr) y = V::Add(y, V::Load(g.bias + column + offset));
          V::Store(c + offset, g.relu ? V::Relu(y) : y);
        } else {
          const Mask mask = V::TailMask(end - offset);
          if (g.accumulate) y = V::Add(y, V::MaskLoad(c + offset, mask));
          if (g.bias != nullptr) y = V::Add(y, V::MaskLoad(g.bias + column + offset, mask));
          V::MaskStore(c + offset, mask, g.relu ? V::Relu(y) : y);
        }
      }
    }
  }

  /// Calls Bf16Tile with `rows` <= R as a template argument.
  template <int R, int P>
  static void Bf16Rows(const Bf16GemmBlock& g, size_t row, size_t rows, size_t column,
                       size_t columns) {
    if constexpr (R > 1) {
      if (rows < R) return Bf16Rows<R - 1, P>(g, row, rows, column, columns);
    }
    Bf16Tile<R, P>(g, row, column, columns);
  }

  /// Rows go in groups of nearly equal height, and few rows take several panels at once, as in
  /// VectorGemm::Gemm.
  static void Gemm(const Bf16GemmBlock& g) {
    constexpr size_t kRows = V::kBf16RowTile;
    const size_t groups = (g.m + kRows - 1) / kRows;
    size_t column = 0;
    while (column < g.n) {
      const size_t left = (g.n - column + kColumnTile - 1) / kColumnTile;
      const size_t panels = g.m == 1 && left >= 4 ? 4 : g.m == 2 && left >= 2 ? 2 : 1;
      const size_t last = column + (panels - 1) * kColumnTile;
      const size_t columns = g.n - last < kColumnTile ? g.n - last : kColumnTile;
      if (panels == 4) {
        Bf16Tile<1, 4>(g, 0, column, columns);
      } else if (panels == 2) {
        Bf16Tile<2, 2>(g, 0, column, columns);
      } else {
        size_t row = 0;
        for (size_t group = 0; group < groups; ++group) {
          const size_t rows = (g.m - row + (groups - group) - 1) / (groups - group);
          Bf16Rows<V::kBf16RowTile, 1>(g, row, rows, column, columns);
          row += rows;
        }
      }
      column += panels * kColumnTile;
    }
  }
};

}  // namespace tandem
