// One step of the Adam optimiser.
#pragma once

#include <stddef.h>

#include "kernels/kernels.h"

namespace tandem {

/// KernelTable::adam over the register type V.
template <class V>
struct VectorAdam {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;

  static void Adam(const AdamStep& s, const float* gradient, size_t n, float* parameter, float* m,
                   float* v) {
    const F beta1 = V::Set1(s.beta1), beta2 = V::Set1(s.beta2);
    const F keep1 = V::Set1(1.0f - s.beta1), keep2 = V::Set1(1.0f - s.beta2);
    const F first = V::Set1(s.first_correction), second = V::Set1(s.second_correction);
    const F rate = V::Set1(s.learning_rate), epsilon = V::Set1(s.epsilon);
    size_t i = 0;
    for (; i < n; i += kLanes) {
      const Mask mask = V::TailMask(n - i < kLanes ? n - i : kLanes);
      const bool full = n - i >= kLanes;
      const F g = full ? V::Load(gradient + i) : V::MaskLoad(gradient + i, mask);
      F m1 = full ? V::Load(m + i) : V::MaskLoad(m + i, mask);
      F v1 = full ? V::Load(v + i) : V::MaskLoad(v + i, mask);
      F p = full ? V::Load(parameter + i) : V::MaskLoad(parameter + i, mask);
      m1 = V::Fma(beta1, m1, V::Mul(keep1, g));
      v1 = V::Fma(beta2, v1, V::Mul(keep2, V::Mul(g, g)));
      const F denominator = V::Add(V::Sqrt(V::Mul(v1, second)), epsilon);
      p = V::NegFma(rate, V::Div(V::Mul(m1, first), denominator), p);
      if (full) {
        V::Store(m + i, m1);
        V::Store(v + i, v1);
        V::Store(parameter + i, p);
      } else {
        V::MaskStore(m + i, mask, m1);
        V::MaskStore(v + i, mask, v1);
        V::MaskStore(parameter + i, mask, p);
      }
    }
  }
};

}  // namespace tandem
