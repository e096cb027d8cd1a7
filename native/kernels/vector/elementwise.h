// Functions of one element or of two, and dropout.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/dropout_hash.h"
#include "kernels/kernels.h"

namespace tandem {

/// KernelTable::unary, binary and dropout over the register type V.
template <class V>
struct VectorElementwise {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;

  /// e^x = 2^n e^r with |r| <= ln 2 / 2, by the degree-6 minimax polynomial of Cephes expf. 2^n is
  /// applied in two halves, so that results below FLT_MIN round once and 2^128 does not overflow
  /// before the multiplication.
  static F Exp(F x) {
    // Min and Max return their second operand when either is NaN, so NaN passes through.
    const F clamped = V::Max(V::Set1(-104.0f), V::Min(V::Set1(89.0f), x));
    const F n = V::Round(V::Mul(clamped, V::Set1(1.44269504088896341f)));
    F r = V::NegFma(n, V::Set1(0.693359375f), clamped);
    r = V::NegFma(n, V::Set1(-2.12194440e-4f), r);
    F y = V::Set1(1.9875691500e-4f);
    y = V::Fma(y, r, V::Set1(1.3981999507e-3f));
    y = V::Fma(y, r, V::Set1(8.3334519073e-3f));
    y = V::Fma(y, r, V::Set1(4.1665795894e-2f));
    y = V::Fma(y, r, V::Set1(1.6666665459e-1f));
    y = V::Fma(y, r, V::Set1(5.0000001201e-1f));
    y = V::Fma(y, V::Mul(r, r), V::Add(r, V::Set1(1.0f)));
    return V::ScaleByPowerOfTwo(y, n);
  }

  template <class Op>
  static void Map(const float* a, size_t n, float* out, Op op) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) V::Store(out + i, op(V::Load(a + i)));
    if (i < n) {
      const Mask mask = V::TailMask(n - i);
      V::MaskStore(out + i, mask, op(V::MaskLoad(a + i, mask)));
    }
  }

  static void Unary(UnaryOp op, const float* a, size_t n, float* out) {
    switch (op) {
      case UnaryOp::kRelu:
        return Map(a, n, out, [](F x) { return V::Relu(x); });
      case UnaryOp::kStep:
        return Map(a, n, out, [](F x) { return V::Step(x); });
      case UnaryOp::kExp:
        return Map(a, n, out, [](F x) { return Exp(x); });
      case UnaryOp::kLog:
        for (size_t i = 0; i < n; ++i) out[i] = __builtin_logf(a[i]);
        return;
      case UnaryOp::kSqrt:
        return Map(a, n, out, [](F x) { return V::Sqrt(x); });
      case UnaryOp::kRsqrt:
        return Map(a, n, out, [](F x) { return V::Div(V::Set1(1.0f), V::Sqrt(x)); });
      case UnaryOp::kSquare:
        return Map(a, n, out, [](F x) { return V::Mul(x, x); });
      case UnaryOp::kNeg:
        return Map(a, n, out, [](F x) { return V::Neg(x); });
    }
  }

  template <class Op>
  static void Zip(BinaryForm form, const float* a, const float* b, size_t n, float* out, Op op) {
    size_t i = 0;
    if (form == BinaryForm::kScalarA) {
      const F x = V::Set1(*a);
      Map(b, n, out, [x, op](F y) { return op(x, y); });
      return;
    }
    if (form == BinaryForm::kScalarB) {
      const F y = V::Set1(*b);
      Map(a, n, out, [y, op](F x) { return op(x, y); });
      return;
    }
    for (; i + kLanes <= n; i += kLanes) {
      V::Store(out + i, op(V::Load(a + i), V::Load(b + i)));
    }
    if (i < n) {
      const Mask mask = V::TailMask(n - i);
      V::MaskStore(out + i, mask, op(V::MaskLoad(a + i, mask), V::MaskLoad(b + i, mask)));
    }
  }

  static void Binary(BinaryOp op, BinaryForm form, const float* a, const float* b, size_t n,
                     float* out) {
    switch (op) {
      case BinaryOp::kAdd:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::Add(x, y); });
      case BinaryOp::kSub:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::Sub(x, y); });
      case BinaryOp::kMul:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::Mul(x, y); });
      case BinaryOp::kDiv:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::Div(x, y); });
      case BinaryOp::kMax:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::MaxOrNan(x, y); });
    }
  }

  /// Plain C++: compilers vectorise integer loops for each instruction set, and no rounding depends
  /// on how they do it.
  static void Dropout(uint32_t seed, uint32_t first, uint32_t threshold, float scale,
                      const float* a, size_t n, float* out) {
    for (size_t i = 0; i < n; ++i) {
      const uint32_t hash = DropoutHash(seed, first + static_cast<uint32_t>(i));
      out[i] = hash < threshold ? 0.0f : a[i] * scale;
    }
  }
};

}  // namespace tandem
