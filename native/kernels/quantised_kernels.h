// Kernel bodies over bf16 and 8-bit operands, written over the register types of vector_kernels.h and the products each
// of them defines: DotPairs for bf16, DotCodes for codes. Internal linkage as there: keep all in the template.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

namespace tandem {

template <class V>
struct QuantisedKernels {
  using F = typename V::F;
  using Mask = typename V::Mask;
  using Pairs = typename V::Pairs;
  static constexpr size_t kLanes = V::kLanes;
  static constexpr size_t kColumnTile = 2 * kLanes;

  static int32_t LoadInt(const void* p) {
    int32_t x;
    memcpy(&x, p, sizeof(x));
    return x;
  }

  // ---- bf16 ----

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

  /// R rows by P panels of outputs held in registers over the whole of k; `columns` are those of the last panel.
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
      // The side with fewer registers is held, the other one streams past it.
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

  /// `rows` <= R as a constant of its own, for each R.
  template <int R, int P>
  static void Bf16Rows(const Bf16GemmBlock& g, size_t row, size_t rows, size_t column,
                       size_t columns) {
    if constexpr (R > 1) {
      if (rows < R) return Bf16Rows<R - 1, P>(g, row, rows, column, columns);
    }
    Bf16Tile<R, P>(g, row, column, columns);
  }

  /// Rows in groups of nearly equal height, few rows over several panels at once: as VectorKernels::Gemm.
  static void GemmBf16(const Bf16GemmBlock& g) {
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

  // ---- codes ----

  /// How far ahead of the block in hand memory is asked for: 4 queries scan codes from memory at 700 million
  /// products a second instead of 600 (64 components, AVX2). Any address may be asked for.
  static constexpr size_t kPrefetchBytes = 4096;

  /// Q queries over one block; `starts` [Q] makes up for what kCodeOffset took from the codes.
  template <int Q>
  static void ScanTile(const int8_t* queries, size_t depth, const uint8_t* codes,
                       const int32_t* starts, int32_t* sums, size_t sum_stride) {
    typename V::CodeSums totals[Q];
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) totals[q] = V::StartSums(starts[q]);
    for (size_t d = 0; d < depth; d += kCodeGroup, codes += kCodeBlock * kCodeGroup) {
      const typename V::Codes items = V::LoadCodes(codes);
      __builtin_prefetch(codes + kPrefetchBytes);
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) {
        const auto group = V::BroadcastGroup(LoadInt(queries + static_cast<size_t>(q) * depth + d));
        totals[q] = V::DotCodes(items, group, totals[q]);
      }
    }
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      V::StoreCodeSums(sums + static_cast<size_t>(q) * sum_stride, totals[q]);
    }
  }

  /// `left` <= Q queries, with a constant of its own for each number of them.
  template <int Q>
  static void ScanRows(size_t left, const int8_t* queries, size_t depth, const uint8_t* codes,
                       const int32_t* starts, int32_t* sums, size_t sum_stride) {
    if constexpr (Q > 1) {
      if (left < Q) {
        return ScanRows<Q - 1>(left, queries, depth, codes, starts, sums, sum_stride);
      }
    }
    ScanTile<Q>(queries, depth, codes, starts, sums, sum_stride);
  }

  /// So many queries at a time that `starts` has a bound and they stay in the L1 cache.
  static constexpr size_t kQueryChunk = 64;

  /// Block after block, for one query too: several blocks at once, each a stream of its own, took 1.4 times as long
  /// where codes come from memory.
  static void ScanChunk(const int8_t* queries, size_t query_count, size_t depth,
                        const uint8_t* codes, size_t block_count, int32_t* sums,
                        size_t sum_stride) {
    constexpr size_t kQueries = V::kScanQueries;
    int32_t starts[kQueryChunk] = {};
    if constexpr (V::kCodeOffset != 0) {
      for (size_t q = 0; q < query_count; ++q) {
        int32_t sum = 0;
        for (size_t d = 0; d < depth; ++d) sum += queries[q * depth + d];
        starts[q] = sum * V::kCodeOffset;
      }
    }
    for (size_t block = 0; block < block_count; ++block) {
      for (size_t q = 0; q < query_count; q += kQueries) {
        const size_t left = query_count - q < kQueries ? query_count - q : kQueries;
        ScanRows<V::kScanQueries>(left, queries + q * depth, depth, codes, starts + q,
                                  sums + q * sum_stride, sum_stride);
      }
      codes += depth * kCodeBlock;
      sums += kCodeBlock;
    }
  }

  static void ScanCodes(const int8_t* queries, size_t query_count, size_t depth,
                        const uint8_t* codes, size_t block_count, int32_t* sums,
                        size_t sum_stride) {
    for (size_t q = 0; q < query_count; q += kQueryChunk) {
      const size_t count = query_count - q < kQueryChunk ? query_count - q : kQueryChunk;
      ScanChunk(queries + q * depth, count, depth, codes, block_count, sums + q * sum_stride,
                sum_stride);
    }
  }

  static size_t SelectAboveInt(const int32_t* sums, size_t n, int32_t threshold, uint32_t* out) {
    size_t count = 0;
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (uint32_t bits = V::GreaterBitsInt(sums + i, threshold); bits != 0; bits &= bits - 1) {
        out[count++] = static_cast<uint32_t>(i) + static_cast<uint32_t>(__builtin_ctz(bits));
      }
    }
    for (; i < n; ++i) {
      if (sums[i] > threshold) out[count++] = static_cast<uint32_t>(i);
    }
    return count;
  }
};

}  // namespace tandem
