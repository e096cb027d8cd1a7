// Sums and maxima of rows and of columns, and the check for NaN and Inf.
#pragma once

#include <stddef.h>

#include "kernels/kernels.h"

namespace tandem {

/// KernelTable::reduce_row, reduce_columns and all_finite over the register type V.
template <class V>
struct VectorReductions {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;
  static constexpr size_t kReduceBlock = 128;

  static float SumRow(const float* a, size_t n) {
    F s0 = V::Zero(), s1 = V::Zero(), s2 = V::Zero(), s3 = V::Zero();
    size_t i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
      s0 = V::Add(s0, V::Load(a + i));
      s1 = V::Add(s1, V::Load(a + i + kLanes));
      s2 = V::Add(s2, V::Load(a + i + 2 * kLanes));
      s3 = V::Add(s3, V::Load(a + i + 3 * kLanes));
    }
    for (; i + kLanes <= n; i += kLanes) s0 = V::Add(s0, V::Load(a + i));
    if (i < n) s1 = V::Add(s1, V::MaskLoad(a + i, V::TailMask(n - i)));
    return V::ReduceAdd(V::Add(V::Add(s0, s1), V::Add(s2, s3)));
  }

  static float MaxRow(const float* a, size_t n) {
    F best = V::Set1(-__builtin_inff());
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) best = V::MaxOrNan(best, V::Load(a + i));
    float lanes[kLanes];
    V::Store(lanes, best);
    float result = -__builtin_inff();
    for (size_t l = 0; l < kLanes; ++l) result = MaxOrNanOne(result, lanes[l]);
    for (; i < n; ++i) result = MaxOrNanOne(result, a[i]);
    return result;
  }

  static float MaxOrNanOne(float a, float b) { return a != a ? a : (b > a || b != b ? b : a); }

  static float ReduceRow(ReduceOp op, const float* a, size_t n) {
    return op == ReduceOp::kSum ? SumRow(a, n) : MaxRow(a, n);
  }

  /// Reduces K vectors of columns at once. The tail (K = 1) is masked.
  template <int K, bool kMasked>
  static void ReduceColumnTile(ReduceOp op, const float* a, size_t rows, size_t row_stride,
                               Mask mask, float* out) {
    F total[K];
    const F start = op == ReduceOp::kSum ? V::Zero() : V::Set1(-__builtin_inff());
#pragma GCC unroll 4
    for (int v = 0; v < K; ++v) total[v] = start;
    for (size_t first = 0; first < rows; first += kReduceBlock) {
      const size_t end = rows - first < kReduceBlock ? rows : first + kReduceBlock;
      F part[K];
#pragma GCC unroll 4
      for (int v = 0; v < K; ++v) part[v] = start;
      for (size_t r = first; r < end; ++r) {
        const float* row = a + r * row_stride;
#pragma GCC unroll 4
        for (int v = 0; v < K; ++v) {
          const float* address = row + static_cast<size_t>(v) * kLanes;
          const F x = kMasked ? V::MaskLoad(address, mask) : V::Load(address);
          part[v] = op == ReduceOp::kSum ? V::Add(part[v], x) : V::MaxOrNan(part[v], x);
        }
      }
#pragma GCC unroll 4
      for (int v = 0; v < K; ++v) {
        total[v] =
            op == ReduceOp::kSum ? V::Add(total[v], part[v]) : V::MaxOrNan(total[v], part[v]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < K; ++v) {
      float* address = out + static_cast<size_t>(v) * kLanes;
      if (kMasked) {
        V::MaskStore(address, mask, total[v]);
      } else {
        V::Store(address, total[v]);
      }
    }
  }

  static void ReduceColumns(ReduceOp op, const float* a, size_t rows, size_t row_stride, size_t n,
                            float* out) {
    const Mask all = V::TailMask(kLanes);
    size_t c = 0;
    for (; c + 4 * kLanes <= n; c += 4 * kLanes) {
      ReduceColumnTile<4, false>(op, a + c, rows, row_stride, all, out + c);
    }
    for (; c + kLanes <= n; c += kLanes) {
      ReduceColumnTile<1, false>(op, a + c, rows, row_stride, all, out + c);
    }
    if (c < n) {
      ReduceColumnTile<1, true>(op, a + c, rows, row_stride, V::TailMask(n - c), out + c);
    }
  }

  /// x * 0 is 0 for finite x and NaN otherwise, and NaN survives every sum.
  static bool AllFinite(const float* a, size_t n) {
    F sum = V::Zero();
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sum = V::Fma(V::Load(a + i), V::Zero(), sum);
    if (i < n) sum = V::Fma(V::MaskLoad(a + i, V::TailMask(n - i)), V::Zero(), sum);
    return V::ReduceAdd(sum) == 0.0f;
  }
};

}  // namespace tandem
