// Layer normalisation and its gradient.
#pragma once

#include <stddef.h>

#include "kernels/vector/reductions.h"

namespace tandem {

/// KernelTable::layer_norm and layer_norm_backward over the register type V.
template <class V>
struct VectorLayerNorm {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;

  static void LayerNorm(const float* a, size_t a_stride, size_t rows, size_t n, const float* scale,
                        const float* offset, float epsilon, float* out, size_t out_stride) {
    const float count = static_cast<float>(n);
    const size_t full = n / kLanes * kLanes;
    const Mask tail = V::TailMask(n - full);
    for (size_t r = 0; r < rows; ++r, a += a_stride, out += out_stride) {
      const F mean = V::Set1(VectorReductions<V>::SumRow(a, n) / count);
      F squares0 = V::Zero();
      F squares1 = V::Zero();
      size_t i = 0;
      for (; i + 2 * kLanes <= full; i += 2 * kLanes) {
        const F x0 = V::Sub(V::Load(a + i), mean);
        const F x1 = V::Sub(V::Load(a + i + kLanes), mean);
        squares0 = V::Fma(x0, x0, squares0);
        squares1 = V::Fma(x1, x1, squares1);
      }
      if (i < full) {
        const F x = V::Sub(V::Load(a + i), mean);
        squares0 = V::Fma(x, x, squares0);
      }
      if (full < n) {
        const F x = V::ZeroUnless(tail, V::Sub(V::MaskLoad(a + full, tail), mean));
        squares1 = V::Fma(x, x, squares1);
      }
      const float variance = V::ReduceAdd(V::Add(squares0, squares1)) / count;
      const F inverse = V::Set1(1.0f / __builtin_sqrtf(variance + epsilon));
      for (i = 0; i < full; i += kLanes) {
        const F x = V::Mul(V::Sub(V::Load(a + i), mean), inverse);
        V::Store(out + i, V::Fma(x, V::Load(scale + i), V::Load(offset + i)));
      }
      if (full < n) {
        const F x = V::Mul(V::Sub(V::MaskLoad(a + full, tail), mean), inverse);
        V::MaskStore(out + full, tail,
                     V::Fma(x, V::MaskLoad(scale + full, tail), V::MaskLoad(offset + full, tail)));
      }
    }
  }

  /// Elements i to i + kLanes of a row of n, 0 past its end.
  static F LoadUpTo(const float* a, size_t i, size_t n) {
    return n - i < kLanes ? V::MaskLoad(a + i, V::TailMask(n - i)) : V::Load(a + i);
  }
  static void StoreUpTo(float* a, size_t i, size_t n, F x) {
    if (n - i < kLanes) {
      V::MaskStore(a + i, V::TailMask(n - i), x);
    } else {
      V::Store(a + i, x);
    }
  }

  /// With u = (a - mean) inverse and g = dy scale: da = inverse (g - mean of g - u mean of g u).
  /// Past the end of a row u is not 0, but g is.
  static void LayerNormBackward(const float* a, const float* dy, size_t rows, size_t n,
                                const float* scale, float epsilon, float* da, float* dscale,
                                float* doffset) {
    const float count = static_cast<float>(n);
    for (size_t r = 0; r < rows; ++r, a += n, dy += n, da += n) {
      const F mean = V::Set1(VectorReductions<V>::SumRow(a, n) / count);
      F squares = V::Zero();
      for (size_t i = 0; i < n; i += kLanes) {
        F x = V::Sub(LoadUpTo(a, i, n), mean);
        if (n - i < kLanes) x = V::ZeroUnless(V::TailMask(n - i), x);
        squares = V::Fma(x, x, squares);
      }
      const F inverse = V::Set1(1.0f / __builtin_sqrtf(V::ReduceAdd(squares) / count + epsilon));
      F sums = V::Zero();
      F products = V::Zero();
      for (size_t i = 0; i < n; i += kLanes) {
        const F unit = V::Mul(V::Sub(LoadUpTo(a, i, n), mean), inverse);
        const F y = LoadUpTo(dy, i, n);
        StoreUpTo(dscale, i, n, V::Fma(y, unit, LoadUpTo(dscale, i, n)));
        StoreUpTo(doffset, i, n, V::Add(y, LoadUpTo(doffset, i, n)));
        const F g = V::Mul(y, LoadUpTo(scale, i, n));
        sums = V::Add(sums, g);
        products = V::Fma(g, unit, products);
      }
      const F sum = V::Set1(V::ReduceAdd(sums) / count);
      const F product = V::Set1(V::ReduceAdd(products) / count);
      for (size_t i = 0; i < n; i += kLanes) {
        const F unit = V::Mul(V::Sub(LoadUpTo(a, i, n), mean), inverse);
        const F g = V::Mul(LoadUpTo(dy, i, n), LoadUpTo(scale, i, n));
        StoreUpTo(da, i, n, V::Mul(inverse, V::NegFma(unit, product, V::Sub(g, sum))));
      }
    }
  }
};

}  // namespace tandem
