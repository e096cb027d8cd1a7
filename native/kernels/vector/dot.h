// Inner products of queries and items, and the scores that lie above a threshold.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tandem {

/// KernelTable::dot, dot_block and select_above over the register type V.
template <class V>
struct VectorDot {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;

  /// As many sums as fit in eight registers beside their operands.
  static constexpr int ItemsOfTile(int queries) { return queries == 1 ? 8 : queries == 2 ? 4 : 2; }

  /// Q queries by I items. Each sum is one chain over n in vector steps, so every Q and I gives the
  /// same bits.
  template <int Q, int I>
  static void DotTile(const float* queries, size_t query_stride, const float* items,
                      size_t item_stride, size_t n, float* scores, size_t score_stride) {
    F sums[Q][I];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) sums[q][i] = V::Zero();
    }
    size_t p = 0;
    for (; p + kLanes <= n; p += kLanes) {
      F x[I];
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) x[i] = V::Load(items + static_cast<size_t>(i) * item_stride + p);
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
        const F y = V::Load(queries + static_cast<size_t>(q) * query_stride + p);
#pragma GCC unroll 4
        for (int i = 0; i < I; ++i) sums[q][i] = V::Fma(y, x[i], sums[q][i]);
      }
    }
    if (p < n) {
      const Mask mask = V::TailMask(n - p);
      F x[I];
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) {
        x[i] = V::MaskLoad(items + static_cast<size_t>(i) * item_stride + p, mask);
      }
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
        const F y = V::MaskLoad(queries + static_cast<size_t>(q) * query_stride + p, mask);
#pragma GCC unroll 4
        for (int i = 0; i < I; ++i) sums[q][i] = V::Fma(y, x[i], sums[q][i]);
      }
    }
    if constexpr (I == ItemsOfTile(Q)) {
      V::StoreSums(sums, scores, score_stride);
    } else {
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
        for (int i = 0; i < I; ++i) {
          scores[static_cast<size_t>(q) * score_stride + static_cast<size_t>(i)] =
              V::ReduceAdd(sums[q][i]);
        }
      }
    }
  }

  static float Dot(const float* a, const float* b, size_t n) {
    float score;
    DotTile<1, 1>(a, 0, b, 0, n, &score, 0);
    return score;
  }

  template <int Q>
  static void DotRows(const float* queries, size_t query_stride, const float* items,
                      size_t item_stride, size_t item_count, size_t n, float* scores,
                      size_t score_stride) {
    constexpr int kItems = ItemsOfTile(Q);
    size_t i = 0;
    for (; i + kItems <= item_count; i += kItems) {
      const float* tile = items + i * item_stride;
      PrefetchPageAhead(tile, kItems * item_stride);
      DotTile<Q, kItems>(queries, query_stride, tile, item_stride, n, scores + i, score_stride);
    }
    for (; i < item_count; ++i) {
      DotTile<Q, 1>(queries, query_stride, items + i * item_stride, item_stride, n, scores + i,
                    score_stride);
    }
  }

  /// Prefetches what lies a page behind a [n]: the hardware prefetches within a page only. An
  /// address that belongs to nobody does no harm.
  static void PrefetchPageAhead(const float* a, size_t n) {
    constexpr size_t kPage = 4096 / sizeof(float), kCacheLine = 64 / sizeof(float);
    for (size_t i = 0; i < n; i += kCacheLine) __builtin_prefetch(a + kPage + i);
  }

  /// Queries go in groups of four, then the rest. Five queries are split into three and two,
  /// because a single one would cost as much as two.
  static void DotBlock(const float* queries, size_t query_stride, size_t query_count,
                       const float* items, size_t item_stride, size_t item_count, size_t n,
                       float* scores, size_t score_stride) {
    size_t group = 0;
    for (size_t q = 0; q < query_count; q += group) {
      const size_t left = query_count - q;
      group = left == 5 ? 3 : left < 4 ? left : 4;
      constexpr decltype(&DotRows<1>) kRows[] = {DotRows<1>, DotRows<2>, DotRows<3>, DotRows<4>};
      kRows[group - 1](queries + q * query_stride, query_stride, items, item_stride, item_count, n,
                       scores + q * score_stride, score_stride);
    }
  }

  static size_t SelectAbove(const float* scores, size_t n, float threshold, uint32_t* out) {
    const F limit = V::Set1(threshold);
    size_t count = 0;
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      uint32_t bits = V::GreaterBits(V::Load(scores + i), limit);
      while (bits != 0) {
        out[count++] = static_cast<uint32_t>(i) + static_cast<uint32_t>(__builtin_ctz(bits));
        bits &= bits - 1;
      }
    }
    for (; i < n; ++i) {
      if (scores[i] > threshold) out[count++] = static_cast<uint32_t>(i);
    }
    return count;
  }
};

}  // namespace tandem
