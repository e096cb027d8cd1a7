// Softmax of a row, and of the rows of causal attention.
#pragma once

#include <stddef.h>

#include "kernels/vector/elementwise.h"
#include "kernels/vector/reductions.h"

namespace tandem {

/// KernelTable::softmax_row and softmax_causal over the register type V.
template <class V>
struct VectorSoftmax {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;

  static void SoftmaxRow(const float* a, size_t n, float* out) {
    const F max = V::Set1(VectorReductions<V>::MaxRow(a, n));
    F sum = V::Zero();
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const F y = VectorElementwise<V>::Exp(V::Sub(V::Load(a + i), max));
      V::Store(out + i, y);
      sum = V::Add(sum, y);
    }
    if (i < n) {
      const Mask mask = V::TailMask(n - i);
      const F y =
          V::ZeroUnless(mask, VectorElementwise<V>::Exp(V::Sub(V::MaskLoad(a + i, mask), max)));
      V::MaskStore(out + i, mask, y);
      sum = V::Add(sum, y);
    }
    const F scale = V::Set1(1.0f / V::ReduceAdd(sum));
    VectorElementwise<V>::Map(out, n, out, [scale](F x) { return V::Mul(x, scale); });
  }

  /// Read at index i: 0 for the lanes before kLanes - i, and -Inf from there on. Added to a vector,
  /// this hides its last lanes.
  struct HidingLanes {
    float values[2 * kLanes];
    constexpr HidingLanes() : values() {
      for (size_t i = kLanes; i < 2 * kLanes; ++i) values[i] = -__builtin_inff();
    }
  };

  /// Takes R rows side by side: a single row is a chain of latencies (maximum, exp, sum, division),
  /// and four rows hide each other's. Row q sees `seen` + q columns and is `n` long.
  template <int R>
  static void SoftmaxCausalRows(float* a, size_t row_stride, size_t seen, size_t n) {
    static constexpr HidingLanes kHiding{};
    const size_t full = seen / kLanes * kLanes;
    const size_t end = seen + R - 1;
    F best[R];
#pragma GCC unroll 4
    for (int q = 0; q < R; ++q) best[q] = V::Set1(-__builtin_inff());
    size_t i = 0;
    for (; i < full; i += kLanes) {
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        best[q] = V::Max(best[q], V::Load(a + static_cast<size_t>(q) * row_stride + i));
      }
    }
    for (; i < end; i += kLanes) {
      const Mask inside = V::TailMask(n - i < kLanes ? n - i : kLanes);
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        const size_t lanes = LanesSeen(seen + static_cast<size_t>(q), i);
        const F x = V::MaskLoad(a + static_cast<size_t>(q) * row_stride + i, inside);
        best[q] = V::Max(best[q], V::Add(x, V::Load(kHiding.values + kLanes - lanes)));
      }
    }
    F max[R];
    F sum[R];
#pragma GCC unroll 4
    for (int q = 0; q < R; ++q) {
      max[q] = V::Set1(MaxLane(best[q]));
      sum[q] = V::Zero();
    }
    for (i = 0; i < full; i += kLanes) {
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        float* row = a + static_cast<size_t>(q) * row_stride;
        const F y = VectorElementwise<V>::Exp(V::Sub(V::Load(row + i), max[q]));
        V::Store(row + i, y);
        sum[q] = V::Add(sum[q], y);
      }
    }
    for (; i < end; i += kLanes) {
      const Mask inside = V::TailMask(n - i < kLanes ? n - i : kLanes);
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        float* row = a + static_cast<size_t>(q) * row_stride;
        const Mask valid = V::TailMask(LanesSeen(seen + static_cast<size_t>(q), i));
        // Hidden lanes go through exp as 0: exp of -Inf would be a result below FLT_MIN, which is
        // slow.
        const F x = V::ZeroUnless(valid, V::Sub(V::MaskLoad(row + i, inside), max[q]));
        const F y = V::ZeroUnless(valid, VectorElementwise<V>::Exp(x));
        V::MaskStore(row + i, inside, y);
        sum[q] = V::Add(sum[q], y);
      }
    }
    F scale[R];
#pragma GCC unroll 4
    for (int q = 0; q < R; ++q) scale[q] = V::Set1(1.0f / V::ReduceAdd(sum[q]));
    for (i = 0; i + kLanes <= n && i < end; i += kLanes) {
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        float* row = a + static_cast<size_t>(q) * row_stride;
        V::Store(row + i, V::Mul(V::Load(row + i), scale[q]));
      }
    }
    for (; i < n; i += kLanes) {
      const Mask inside = V::TailMask(n - i < kLanes ? n - i : kLanes);
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        float* row = a + static_cast<size_t>(q) * row_stride;
        const F y = i < end ? V::Mul(V::MaskLoad(row + i, inside), scale[q]) : V::Zero();
        V::MaskStore(row + i, inside, y);
      }
    }
  }

  static size_t LanesSeen(size_t seen, size_t i) {
    return seen <= i ? 0 : seen - i < kLanes ? seen - i : kLanes;
  }

  static float MaxLane(F x) {
    float lanes[kLanes];
    V::Store(lanes, x);
#pragma GCC unroll 4
    for (size_t half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
      for (size_t l = 0; l < half; ++l) {
        lanes[l] = lanes[l] > lanes[l + half] ? lanes[l] : lanes[l + half];
      }
    }
    return lanes[0];
  }

  static void SoftmaxCausal(float* a, size_t row_stride, size_t rows, size_t first) {
    const size_t n = first + rows;
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      SoftmaxCausalRows<4>(a + r * row_stride, row_stride, first + r + 1, n);
    }
    for (; r < rows; ++r) SoftmaxCausalRows<1>(a + r * row_stride, row_stride, first + r + 1, n);
  }
};

}  // namespace tandem
