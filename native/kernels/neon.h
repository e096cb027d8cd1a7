// ARMv8.0 registers for the shared kernel bodies: 4 lanes, gemm tile 12 x 8 (24 of 32 registers
// accumulate). Only files that are compiled for ARM include this one. Everything is in an anonymous
// namespace, so each file has its own copy.
#pragma once

#include <arm_neon.h>

#include "kernels/vector/table.h"

namespace tandem {
namespace {

struct Neon {
  using F = float32x4_t;
  /// The number of lanes, counted from the first: there are no masked loads for which to build a
  /// register.
  using Mask = size_t;
  static constexpr size_t kLanes = 4;
  static constexpr size_t kRowTile = 12;

  static F Zero() { return vdupq_n_f32(0.0f); }
  static F Set1(float x) { return vdupq_n_f32(x); }
  static F Load(const float* p) { return vld1q_f32(p); }
  static void Store(float* p, F x) { vst1q_f32(p, x); }

  static Mask TailMask(size_t n) { return n; }
  static F MaskLoad(const float* p, Mask mask) {
    const float32x2_t none = vdup_n_f32(0.0f);
    switch (mask) {
      case 0:
        return Zero();
      case 1:
        return vcombine_f32(vld1_lane_f32(p, none, 0), none);
      case 2:
        return vcombine_f32(vld1_f32(p), none);
      case 3:
        return vcombine_f32(vld1_f32(p), vld1_lane_f32(p + 2, none, 0));
      default:
        return vld1q_f32(p);
    }
  }
  static void MaskStore(float* p, Mask mask, F x) {
    switch (mask) {
      case 0:
        return;
      case 1:
        return vst1q_lane_f32(p, x, 0);
      case 2:
        return vst1_f32(p, vget_low_f32(x));
      case 3:
        vst1_f32(p, vget_low_f32(x));
        return vst1q_lane_f32(p + 2, x, 2);
      default:
        return vst1q_f32(p, x);
    }
  }
  static F ZeroUnless(Mask mask, F x) {
    const uint32_t lanes[4] = {0, 1, 2, 3};
    const uint32x4_t keep = vcltq_u32(vld1q_u32(lanes), vdupq_n_u32(static_cast<uint32_t>(mask)));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), keep));
  }

  static F Add(F a, F b) { return vaddq_f32(a, b); }
  static F Sub(F a, F b) { return vsubq_f32(a, b); }
  static F Mul(F a, F b) { return vmulq_f32(a, b); }
  static F Div(F a, F b) { return vdivq_f32(a, b); }
  static F Sqrt(F a) { return vsqrtq_f32(a); }
  static F Neg(F a) { return vnegq_f32(a); }
  static F Fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  /// c - a b.
  static F NegFma(F a, F b, F c) { return vfmsq_f32(c, a, b); }
  /// NaN when either is NaN. The shared bodies only need that a NaN in b passes.
  static F Max(F a, F b) { return vmaxq_f32(a, b); }
  static F Min(F a, F b) { return vminq_f32(a, b); }
  static F MaxOrNan(F a, F b) { return vmaxq_f32(a, b); }
  static F Relu(F a) { return vmaxq_f32(a, Zero()); }
  static F Step(F a) {
    const F one = vreinterpretq_f32_u32(
        vandq_u32(vcgtq_f32(a, Zero()), vreinterpretq_u32_f32(vdupq_n_f32(1.0f))));
    return vbslq_f32(vceqq_f32(a, a), one, a);
  }
  static F Round(F a) { return vrndnq_f32(a); }
  /// y * 2^n for integral n in [-254, 254].
  static F ScaleByPowerOfTwo(F y, F n) {
    const int32x4_t whole = vcvtnq_s32_f32(n);
    const int32x4_t half = vshrq_n_s32(whole, 1);
    return vmulq_f32(vmulq_f32(y, PowerOfTwo(half)), PowerOfTwo(vsubq_s32(whole, half)));
  }
  static F PowerOfTwo(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
  }
  static uint32_t LaneBits(uint32x4_t lanes) {
    const uint32_t weights[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(lanes, vld1q_u32(weights)));
  }
  static uint32_t GreaterBits(F a, F b) { return LaneBits(vcgtq_f32(a, b)); }

  /// Adds neighbours to neighbours, twice, in the same order as StoreSums below.
  static float ReduceAdd(F x) { return vaddvq_f32(x); }
  static F ReduceAdd4(F a, F b, F c, F d) { return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)); }
  static void StoreSums(const F (&sums)[4][2], float* scores, size_t score_stride) {
    StorePairs(sums[0], sums[1], scores, score_stride);
    StorePairs(sums[2], sums[3], scores + 2 * score_stride, score_stride);
  }
  static void StoreSums(const F (&sums)[3][2], float* scores, size_t score_stride) {
    StorePairs(sums[0], sums[1], scores, score_stride);
    const F two = vpaddq_f32(sums[2][0], sums[2][1]);
    vst1_f32(scores + 2 * score_stride, vpadd_f32(vget_low_f32(two), vget_high_f32(two)));
  }
  static void StoreSums(const F (&sums)[2][4], float* scores, size_t score_stride) {
    for (size_t q = 0; q < 2; ++q) {
      const F* s = sums[q];
      vst1q_f32(scores + q * score_stride, ReduceAdd4(s[0], s[1], s[2], s[3]));
    }
  }
  static void StoreSums(const F (&sums)[1][8], float* scores, size_t) {
    const F* s = sums[0];
    vst1q_f32(scores, ReduceAdd4(s[0], s[1], s[2], s[3]));
    vst1q_f32(scores + 4, ReduceAdd4(s[4], s[5], s[6], s[7]));
  }
  static void StorePairs(const F (&a)[2], const F (&b)[2], float* scores, size_t score_stride) {
    const F four = ReduceAdd4(a[0], a[1], b[0], b[1]);
    vst1_f32(scores, vget_low_f32(four));
    vst1_f32(scores + score_stride, vget_high_f32(four));
  }

  static constexpr size_t kTransposeTile = 4;
  static void TransposeTile(const float* a, size_t a_stride, float* out, size_t out_stride) {
    const F r0 = vld1q_f32(a);
    const F r1 = vld1q_f32(a + a_stride);
    const F r2 = vld1q_f32(a + 2 * a_stride);
    const F r3 = vld1q_f32(a + 3 * a_stride);
    const float64x2_t t0 = vreinterpretq_f64_f32(vtrn1q_f32(r0, r1));
    const float64x2_t t1 = vreinterpretq_f64_f32(vtrn2q_f32(r0, r1));
    const float64x2_t t2 = vreinterpretq_f64_f32(vtrn1q_f32(r2, r3));
    const float64x2_t t3 = vreinterpretq_f64_f32(vtrn2q_f32(r2, r3));
    vst1q_f32(out, vreinterpretq_f32_f64(vtrn1q_f64(t0, t2)));
    vst1q_f32(out + out_stride, vreinterpretq_f32_f64(vtrn1q_f64(t1, t3)));
    vst1q_f32(out + 2 * out_stride, vreinterpretq_f32_f64(vtrn2q_f64(t0, t2)));
    vst1q_f32(out + 3 * out_stride, vreinterpretq_f32_f64(vtrn2q_f64(t1, t3)));
  }

  // ---- bf16: a pair is spread over two registers ----

  static uint16x4_t RoundFourToBf16(F x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16);
  }
  /// Rounds 16 elements.
  static void RoundToBf16(const float* a, uint16_t* out) {
    for (int i = 0; i < 16; i += 4) vst1_u16(out + i, RoundFourToBf16(vld1q_f32(a + i)));
  }

  static constexpr int kBf16RowTile = 8;
  struct Pairs {
    F even;
    F odd;
  };
  static Pairs Spread(uint32x4_t pairs) {
    return {vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16)),
            vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)))};
  }
  static Pairs LoadPairs(const uint16_t* p) { return Spread(vreinterpretq_u32_u16(vld1q_u16(p))); }
  static Pairs BroadcastPair(int32_t pair) {
    return Spread(vdupq_n_u32(static_cast<uint32_t>(pair)));
  }
  static F DotPairs(Pairs a, Pairs b, F sum) { return Fma(a.odd, b.odd, Fma(a.even, b.even, sum)); }

  // ---- codes ----
  //
  // Minus 128, codes are signed like the queries. Adding kCodeOffset times the query's sum to the
  // result undoes this.

  static constexpr int kScanQueries = 4;
  static constexpr int kCodeOffset = 128;
  /// Four items each.
  struct Codes {
    int8x16_t quarter[4];
  };
  struct CodeSums {
    int32x4_t quarter[4];
  };
  static Codes LoadCodes(const uint8_t* p) {
    Codes codes;
    for (int i = 0; i < 4; ++i) {
      const uint8x16_t x = vld1q_u8(p + 16 * i);
      codes.quarter[i] = vreinterpretq_s8_u8(veorq_u8(x, vdupq_n_u8(0x80)));
    }
    return codes;
  }
  static int8x16_t BroadcastGroup(int32_t group) {
    return vreinterpretq_s8_s32(vdupq_n_s32(group));
  }
  /// A product is at most 128 x 64 in magnitude, and two of them 2^14, so nothing overflows 16
  /// bits.
  static CodeSums DotCodes(const Codes& codes, int8x16_t group, CodeSums sums) {
    for (int i = 0; i < 4; ++i) {
      const int8x16_t x = codes.quarter[i];
      const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(group));
      const int16x8_t high = vmull_high_s8(x, group);
      sums.quarter[i] = vpadalq_s16(sums.quarter[i], vpaddq_s16(low, high));
    }
    return sums;
  }
  static CodeSums StartSums(int32_t x) {
    const int32x4_t start = vdupq_n_s32(x);
    return {{start, start, start, start}};
  }
  static void StoreCodeSums(int32_t* p, const CodeSums& sums) {
    for (int i = 0; i < 4; ++i) vst1q_s32(p + 4 * i, sums.quarter[i]);
  }
  static uint32_t GreaterBitsInt(const int32_t* p, int32_t limit) {
    return LaneBits(vcgtq_s32(vld1q_s32(p), vdupq_n_s32(limit)));
  }
};

}  // namespace
}  // namespace tandem
