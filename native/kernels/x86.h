// 256-bit operations that every x86 instruction set with AVX2 shares: wider shuffles would gain
// nothing where these are used. In an anonymous namespace, like the register types that inherit
// them.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace tandem {
namespace {

struct X86 {
  // ---- sums of lanes ----

  /// Adds halves to halves.
  static float ReduceAdd(__m256 x) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
  }

  /// The lane sums of a b c d e f g h, as [a c e g b d f h]. The additions run in the order of
  /// ReduceAdd, so the bits are the same: 21 instructions instead of 8 x 6.
  static __m256 ReduceAdd8(const __m256 (&x)[8]) {
    __m256 pairs[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256 first = x[2 * i];
      const __m256 second = x[2 * i + 1];
      pairs[i] = _mm256_add_ps(_mm256_permute2f128_ps(first, second, 0x20),
                               _mm256_permute2f128_ps(first, second, 0x31));
    }
    const __m256 low = _mm256_add_ps(_mm256_shuffle_ps(pairs[0], pairs[1], 0x44),
                                     _mm256_shuffle_ps(pairs[0], pairs[1], 0xEE));
    const __m256 high = _mm256_add_ps(_mm256_shuffle_ps(pairs[2], pairs[3], 0x44),
                                      _mm256_shuffle_ps(pairs[2], pairs[3], 0xEE));
    return _mm256_add_ps(_mm256_shuffle_ps(low, high, 0x88), _mm256_shuffle_ps(low, high, 0xDD));
  }

  static void StoreSums(const __m256 (&sums)[4][2], float* scores, size_t score_stride) {
    const __m256 all = ReduceAdd8({sums[0][0], sums[2][0], sums[0][1], sums[2][1],  //
                                   sums[1][0], sums[3][0], sums[1][1], sums[3][1]});
    StorePairs(_mm256_castps256_ps128(all), scores, scores + score_stride);
    StorePairs(_mm256_extractf128_ps(all, 1), scores + 2 * score_stride, scores + 3 * score_stride);
  }

  static void StoreSums(const __m256 (&sums)[3][2], float* scores, size_t score_stride) {
    const __m256 all = ReduceAdd8({sums[0][0], sums[2][0], sums[0][1], sums[2][1],  //
                                   sums[1][0], sums[2][0], sums[1][1], sums[2][1]});
    StorePairs(_mm256_castps256_ps128(all), scores, scores + score_stride);
    _mm_storel_pi(reinterpret_cast<__m64*>(scores + 2 * score_stride),
                  _mm256_extractf128_ps(all, 1));
  }

  static void StoreSums(const __m256 (&sums)[2][4], float* scores, size_t score_stride) {
    const __m256 all = ReduceAdd8({sums[0][0], sums[1][0], sums[0][1], sums[1][1],  //
                                   sums[0][2], sums[1][2], sums[0][3], sums[1][3]});
    _mm_storeu_ps(scores, _mm256_castps256_ps128(all));
    _mm_storeu_ps(scores + score_stride, _mm256_extractf128_ps(all, 1));
  }

  static void StoreSums(const __m256 (&sums)[1][8], float* scores, size_t) {
    _mm256_storeu_ps(scores, ReduceAdd8({sums[0][0], sums[0][4], sums[0][1], sums[0][5],  //
                                         sums[0][2], sums[0][6], sums[0][3], sums[0][7]}));
  }

  static void StorePairs(__m128 pairs, float* low, float* high) {
    _mm_storel_pi(reinterpret_cast<__m64*>(low), pairs);
    _mm_storeh_pi(reinterpret_cast<__m64*>(high), pairs);
  }

  // ---- layout ----

  static constexpr size_t kTransposeTile = 8;

  static void TransposeTile(const float* a, size_t a_stride, float* out, size_t out_stride) {
    __m256 r0 = _mm256_loadu_ps(a);
    __m256 r1 = _mm256_loadu_ps(a + a_stride);
    __m256 r2 = _mm256_loadu_ps(a + 2 * a_stride);
    __m256 r3 = _mm256_loadu_ps(a + 3 * a_stride);
    __m256 r4 = _mm256_loadu_ps(a + 4 * a_stride);
    __m256 r5 = _mm256_loadu_ps(a + 5 * a_stride);
    __m256 r6 = _mm256_loadu_ps(a + 6 * a_stride);
    __m256 r7 = _mm256_loadu_ps(a + 7 * a_stride);
    const __m256 t0 = _mm256_unpacklo_ps(r0, r1);
    const __m256 t1 = _mm256_unpackhi_ps(r0, r1);
    const __m256 t2 = _mm256_unpacklo_ps(r2, r3);
    const __m256 t3 = _mm256_unpackhi_ps(r2, r3);
    const __m256 t4 = _mm256_unpacklo_ps(r4, r5);
    const __m256 t5 = _mm256_unpackhi_ps(r4, r5);
    const __m256 t6 = _mm256_unpacklo_ps(r6, r7);
    const __m256 t7 = _mm256_unpackhi_ps(r6, r7);
    r0 = _mm256_shuffle_ps(t0, t2, 0x44);
    r1 = _mm256_shuffle_ps(t0, t2, 0xEE);
    r2 = _mm256_shuffle_ps(t1, t3, 0x44);
    r3 = _mm256_shuffle_ps(t1, t3, 0xEE);
    r4 = _mm256_shuffle_ps(t4, t6, 0x44);
    r5 = _mm256_shuffle_ps(t4, t6, 0xEE);
    r6 = _mm256_shuffle_ps(t5, t7, 0x44);
    r7 = _mm256_shuffle_ps(t5, t7, 0xEE);
    _mm256_storeu_ps(out, _mm256_permute2f128_ps(r0, r4, 0x20));
    _mm256_storeu_ps(out + out_stride, _mm256_permute2f128_ps(r1, r5, 0x20));
    _mm256_storeu_ps(out + 2 * out_stride, _mm256_permute2f128_ps(r2, r6, 0x20));
    _mm256_storeu_ps(out + 3 * out_stride, _mm256_permute2f128_ps(r3, r7, 0x20));
    _mm256_storeu_ps(out + 4 * out_stride, _mm256_permute2f128_ps(r0, r4, 0x31));
    _mm256_storeu_ps(out + 5 * out_stride, _mm256_permute2f128_ps(r1, r5, 0x31));
    _mm256_storeu_ps(out + 6 * out_stride, _mm256_permute2f128_ps(r2, r6, 0x31));
    _mm256_storeu_ps(out + 7 * out_stride, _mm256_permute2f128_ps(r3, r7, 0x31));
  }

  // ---- bf16 ----

  static __m256i RoundEightToBf16(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  }

  /// Rounds 16 elements. VCVTNE2PS2BF16 would be shorter on CPUs with AVX-512 BF16, but it flushes
  /// denormals.
  static void RoundToBf16(const float* a, uint16_t* out) {
    const __m256i low = RoundEightToBf16(_mm256_loadu_ps(a));
    const __m256i high = RoundEightToBf16(_mm256_loadu_ps(a + 8));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), packed);
  }
};

}  // namespace
}  // namespace tandem
