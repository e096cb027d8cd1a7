// Products of f32 matrices, one block at a time.
#pragma once

#include <stddef.h>

#include "kernels/kernels.h"

namespace tandem {

/// KernelTable::gemm over the register type V.
template <class V>
struct VectorGemm {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;
  /// Two registers wide. With kRowTile rows, the accumulators fill the register file except for two
  /// registers of b and one of a.
  static constexpr size_t kColumnTile = 2 * kLanes;

  /// Holds R rows by P panels of outputs in registers over the whole of k. `columns` are those of
  /// the last panel.
  template <int R, int P, bool kMasked>
  static void Tile(const GemmBlock& g, size_t row, size_t column, size_t columns) {
    constexpr int kVectors = 2 * P;
    const Mask mask0 = V::TailMask(columns < kLanes ? columns : kLanes);
    const Mask mask1 = V::TailMask(columns < kLanes ? 0 : columns - kLanes);
    F sums[R][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = V::Zero();
    }
    const float* a = g.a + static_cast<ptrdiff_t>(row) * g.a_row_stride;
    const float* b = g.b + static_cast<ptrdiff_t>(column / kColumnTile) * g.b_panel_stride;
    const ptrdiff_t a_row_stride = g.a_row_stride;
    const ptrdiff_t a_k_stride = g.a_k_stride;
    const ptrdiff_t b_k_stride = g.b_k_stride;
    const ptrdiff_t b_panel_stride = g.b_panel_stride;
    for (size_t p = 0; p < g.k; ++p) {
      F columns_b[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const float* address = b + (v / 2) * b_panel_stride + (v % 2) * static_cast<int>(kLanes);
        columns_b[v] = kMasked && v >= kVectors - 2
                           ? V::MaskLoad(address, v % 2 == 0 ? mask0 : mask1)
                           : V::Load(address);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F x = V::Set1(a[r * a_row_stride]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sums[r][v] = V::Fma(x, columns_b[v], sums[r][v]);
      }
      a += a_k_stride;
      b += b_k_stride;
    }
    float* c = g.c + static_cast<ptrdiff_t>(row) * g.c_row_stride + static_cast<ptrdiff_t>(column);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const bool masked = kMasked && v >= kVectors - 2;
        const Mask mask = v % 2 == 0 ? mask0 : mask1;
        const ptrdiff_t offset = v * static_cast<ptrdiff_t>(kLanes);
        float* address = c + r * g.c_row_stride + offset;
        F y = sums[r][v];
        if (g.accumulate) {
          y = V::Add(y, masked ? V::MaskLoad(address, mask) : V::Load(address));
        }
        if (g.bias != nullptr) {
          const float* bias = g.bias + column + offset;
          y = V::Add(y, masked ? V::MaskLoad(bias, mask) : V::Load(bias));
        }
        if (g.relu) y = V::Relu(y);
        if (masked) {
          V::MaskStore(address, mask, y);
        } else {
          V::Store(address, y);
        }
      }
    }
  }

  template <int R, int P>
  static void TileOf(const GemmBlock& g, size_t row, size_t column, size_t columns) {
    if (columns == kColumnTile) {
      Tile<R, P, false>(g, row, column, columns);
    } else {
      Tile<R, P, true>(g, row, column, columns);
    }
  }

  /// Few rows leave accumulators free, so they take several panels at once: the latency of an FMA
  /// needs 8 chains in flight.
  template <int P>
  static void Rows(const GemmBlock& g, size_t row, size_t rows, size_t column, size_t columns) {
    if constexpr (P == 4) {
      TileOf<1, 4>(g, row, column, columns);
    } else if constexpr (P == 2) {
      switch (rows) {
        case 1:
          return TileOf<1, 2>(g, row, column, columns);
        case 2:
          return TileOf<2, 2>(g, row, column, columns);
        default:
          return TileOf<3, 2>(g, row, column, columns);
      }
    } else {
      switch (rows) {
        case 1:
          return TileOf<1, 1>(g, row, column, columns);
        case 2:
          return TileOf<2, 1>(g, row, column, columns);
        case 3:
          return TileOf<3, 1>(g, row, column, columns);
        case 4:
          return TileOf<4, 1>(g, row, column, columns);
        case 5:
          return TileOf<5, 1>(g, row, column, columns);
        case 6:
          return TileOf<6, 1>(g, row, column, columns);
        default:
          break;
      }
      if constexpr (V::kRowTile > 6) {
        switch (rows) {
          case 7:
            return TileOf<7, 1>(g, row, column, columns);
          case 8:
            return TileOf<8, 1>(g, row, column, columns);
          case 9:
            return TileOf<9, 1>(g, row, column, columns);
          case 10:
            return TileOf<10, 1>(g, row, column, columns);
          case 11:
            return TileOf<11, 1>(g, row, column, columns);
          default:
            return TileOf<12, 1>(g, row, column, columns);
        }
      }
    }
  }

  static void Gemm(const GemmBlock& g) {
    // Rows are split into groups of nearly equal height: 32 rows as 6 6 5 5 5 5 keep the pipes
    // fuller than 6 6 6 6 6 2.
    const size_t groups = (g.m + V::kRowTile - 1) / V::kRowTile;
    size_t column = 0;
    while (column < g.n) {
      const size_t left = (g.n - column + kColumnTile - 1) / kColumnTile;
      const size_t panels = g.m == 1 && left >= 4 ? 4 : g.m <= 3 && left >= 2 ? 2 : 1;
      const size_t last = column + (panels - 1) * kColumnTile;
      const size_t columns = g.n - last < kColumnTile ? g.n - last : kColumnTile;
      if (panels == 4) {
        Rows<4>(g, 0, 1, column, columns);
      } else if (panels == 2) {
        Rows<2>(g, 0, g.m, column, columns);
      } else {
        size_t row = 0;
        for (size_t group = 0; group < groups; ++group) {
          const size_t rows = (g.m - row + (groups - group) - 1) / (groups - group);
          Rows<1>(g, row, rows, column, columns);
          row += rows;
        }
      }
      column += panels * kColumnTile;
    }
  }
};

}  // namespace tandem
