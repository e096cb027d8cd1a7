// AVX-512 (F, BW, DQ, VL) registers for the shared kernel bodies: 16 lanes, gemm tile 12 x 32 (24
// of 32 registers accumulate). Only files that are compiled for AVX-512 include this one.
// Everything is in an anonymous namespace, so each file has its own copy.
#pragma once

#include "kernels/vector/table.h"
#include "kernels/x86.h"

namespace tandem {
namespace {

struct Avx512 : X86 {
  using F = __m512;
  using Mask = __mmask16;
  static constexpr size_t kLanes = 16;
  static constexpr size_t kRowTile = 12;

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set1(float x) { return _mm512_set1_ps(x); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F x) { _mm512_storeu_ps(p, x); }

  /// The first n lanes, n <= 16.
  static Mask TailMask(size_t n) { return static_cast<Mask>((1u << n) - 1u); }
  static F MaskLoad(const float* p, Mask mask) { return _mm512_maskz_loadu_ps(mask, p); }
  static void MaskStore(float* p, Mask mask, F x) { _mm512_mask_storeu_ps(p, mask, x); }
  static F ZeroUnless(Mask mask, F x) { return _mm512_maskz_mov_ps(mask, x); }

  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Sqrt(F a) { return _mm512_sqrt_ps(a); }
  static F Neg(F a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  /// c - a b.
  static F NegFma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  /// b when either is NaN, which is what the instruction gives.
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F MaxOrNan(F a, F b) {
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
  }
  static F Relu(F a) { return _mm512_max_ps(_mm512_setzero_ps(), a); }
  static F Step(F a) {
    const Mask above = _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ);
    const F one = _mm512_maskz_mov_ps(above, _mm512_set1_ps(1.0f));
    return _mm512_mask_mov_ps(one, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
  }
  static F Round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// y * 2^n for integral n in [-254, 254], in two factors as in avx2.cpp, so that both round
  /// alike.
  static F ScaleByPowerOfTwo(F y, F n) {
    const __m512i whole = _mm512_cvtps_epi32(n);
    const __m512i half = _mm512_srai_epi32(whole, 1);
    return _mm512_mul_ps(_mm512_mul_ps(y, PowerOfTwo(half)),
                         PowerOfTwo(_mm512_sub_epi32(whole, half)));
  }
  static F PowerOfTwo(__m512i n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
  }
  /// An explicit instruction. Without it, GCC 12 may spill the mask's 16 bits and read back 32, and
  /// the upper 16 are then undefined (seen at -O1 with -fsanitize=thread).
  /// Emulated masks are plain integers.
  static uint32_t BitsOf(Mask mask) {
#if defined(__AVX512F__)
    uint32_t bits;
    __asm__("kmovw %1, %0" : "=r"(bits) : "k"(mask));
    return bits;
#else
    return mask;
#endif
  }
  static uint32_t GreaterBits(F a, F b) { return BitsOf(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ)); }
  static __m256 ToEight(F x) {
    return _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  }
  static float ReduceAdd(F x) { return X86::ReduceAdd(ToEight(x)); }
  template <int Q, int I>
  static void StoreSums(const F (&sums)[Q][I], float* scores, size_t score_stride) {
    __m256 eight[Q][I];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) eight[q][i] = ToEight(sums[q][i]);
    }
    X86::StoreSums(eight, scores, score_stride);
  }

  // ---- bf16: a pair is spread over two registers ----

  static constexpr int kBf16RowTile = 12;
  struct Pairs {
    F even;
    F odd;
  };
  static Pairs Spread(__m512i pairs) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-65536)))};
  }
  static Pairs LoadPairs(const uint16_t* p) { return Spread(_mm512_loadu_si512(p)); }
  static Pairs BroadcastPair(int32_t pair) { return Spread(_mm512_set1_epi32(pair)); }
  static F DotPairs(Pairs a, Pairs b, F sum) { return Fma(a.odd, b.odd, Fma(a.even, b.even, sum)); }

  // ---- codes ----
  //
  // A code times a query component takes 8 + 6 bits, and the sum of two takes 15, so nothing
  // saturates.

  static constexpr int kScanQueries = 8;
  static constexpr int kCodeOffset = 0;
  using Codes = __m512i;
  using CodeSums = __m512i;
  static Codes LoadCodes(const uint8_t* p) { return _mm512_load_si512(p); }
  static __m512i BroadcastGroup(int32_t group) { return _mm512_set1_epi32(group); }
  static CodeSums DotCodes(Codes codes, __m512i group, CodeSums sums) {
    const __m512i pairs = _mm512_maddubs_epi16(codes, group);
    return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  static CodeSums StartSums(int32_t x) { return _mm512_set1_epi32(x); }
  static void StoreCodeSums(int32_t* p, CodeSums sums) { _mm512_storeu_si512(p, sums); }
  static uint32_t GreaterBitsInt(const int32_t* p, int32_t limit) {
    return BitsOf(_mm512_cmpgt_epi32_mask(_mm512_loadu_si512(p), _mm512_set1_epi32(limit)));
  }
};

}  // namespace
}  // namespace tandem
