// Sums of rows, each multiplied by a weight.
#pragma once

#include <stddef.h>

namespace tandem {

/// KernelTable::axpy and bag over the register type V.
template <class V>
struct VectorWeightedSum {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;

  static void Axpy(float weight, const float* x, size_t n, float* y) {
    const F w = V::Set1(weight);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) V::Store(y + i, V::Fma(w, V::Load(x + i), V::Load(y + i)));
    if (i < n) {
      const Mask mask = V::TailMask(n - i);
      V::MaskStore(y + i, mask, V::Fma(w, V::MaskLoad(x + i, mask), V::MaskLoad(y + i, mask)));
    }
  }

  /// Holds K vectors of columns in registers over all rows. The tail (K = 1) is masked.
  template <int K, bool kMasked>
  static void BagTile(const float* const* rows, const float* weights, size_t count, size_t column,
                      Mask mask, bool accumulate, bool relu, float* out) {
    F sums[K];
#pragma GCC unroll 8
    for (int v = 0; v < K; ++v) {
      const float* address = out + column + static_cast<size_t>(v) * kLanes;
      sums[v] = !accumulate ? V::Zero() : kMasked ? V::MaskLoad(address, mask) : V::Load(address);
    }
    for (size_t i = 0; i < count; ++i) {
      const F weight = V::Set1(weights[i]);
      const float* row = rows[i] + column;
#pragma GCC unroll 8
      for (int v = 0; v < K; ++v) {
        const float* address = row + static_cast<size_t>(v) * kLanes;
        const F x = kMasked ? V::MaskLoad(address, mask) : V::Load(address);
        sums[v] = V::Fma(weight, x, sums[v]);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < K; ++v) {
      float* address = out + column + static_cast<size_t>(v) * kLanes;
      const F y = relu ? V::Relu(sums[v]) : sums[v];
      if (kMasked) {
        V::MaskStore(address, mask, y);
      } else {
        V::Store(address, y);
      }
    }
  }

  static void Bag(const float* const* rows, const float* weights, size_t count, size_t n,
                  bool accumulate, bool relu, float* out) {
    const Mask all = V::TailMask(kLanes);
    size_t c = 0;
    for (; c + 8 * kLanes <= n; c += 8 * kLanes) {
      BagTile<8, false>(rows, weights, count, c, all, accumulate, relu, out);
    }
    for (; c + kLanes <= n; c += kLanes) {
      BagTile<1, false>(rows, weights, count, c, all, accumulate, relu, out);
    }
    if (c < n) {
      BagTile<1, true>(rows, weights, count, c, V::TailMask(n - c), accumulate, relu, out);
    }
  }
};

}  // namespace tandem
