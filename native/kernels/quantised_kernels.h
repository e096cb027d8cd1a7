// Kernel bodies over bf16 and 8-bit operands for x86 without instructions of their own for them: bf16 pairs are spread
// into f32 registers, codes are multiplied in 16 bits. Internal linkage as in vector_kernels.h: keep all in the template.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

namespace tandem {

/// V as for VectorKernels.
template <class V>
struct QuantisedKernels {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;
  static constexpr size_t kColumnTile = 2 * kLanes;
  static constexpr size_t kRowTile = 4;

  // ---- bf16 ----

  static uint16_t RoundToBf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }

  static __m256i RoundEightToBf16(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  }

  static void ToBf16(const float* a, size_t n, uint16_t* out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
      const __m256i low = RoundEightToBf16(_mm256_loadu_ps(a + i));
      const __m256i high = RoundEightToBf16(_mm256_loadu_ps(a + i + 8));
      const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), packed);
    }
    for (; i < n; ++i) out[i] = RoundToBf16(a[i]);
  }

  template <int R>
  static void Bf16Tile(const Bf16GemmBlock& g, size_t row, size_t column) {
    const size_t columns = g.n - column < kColumnTile ? g.n - column : kColumnTile;
    const Mask mask[2] = {V::TailMask(columns < kLanes ? columns : kLanes),
                          V::TailMask(columns < kLanes ? 0 : columns - kLanes)};
    F sums[R][2];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = V::Zero();
    const uint16_t* a = g.a + static_cast<ptrdiff_t>(row) * g.a_row_stride;
    const uint16_t* b = g.b + column * g.k;
    for (size_t p = 0; p < g.k; p += 2, b += 2 * kColumnTile) {
      F even[2], odd[2];
      V::LoadBf16Pairs(b, &even[0], &odd[0]);
      V::LoadBf16Pairs(b + 2 * kLanes, &even[1], &odd[1]);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const uint16_t* pair = a + r * g.a_row_stride + static_cast<ptrdiff_t>(p);
        const uint32_t bits[2] = {uint32_t{pair[0]} << 16, uint32_t{pair[1]} << 16};
        float x[2];
        memcpy(x, bits, sizeof(x));
        const F x0 = V::Set1(x[0]);
        const F x1 = V::Set1(x[1]);
        sums[r][0] = V::Fma(x1, odd[0], V::Fma(x0, even[0], sums[r][0]));
        sums[r][1] = V::Fma(x1, odd[1], V::Fma(x0, even[1], sums[r][1]));
      }
    }
    for (int r = 0; r < R; ++r) {
      float* out = g.c + (static_cast<ptrdiff_t>(row) + r) * g.c_row_stride + column;
      for (size_t v = 0; v < 2; ++v) {
        if (v * kLanes >= columns) break;
        F y = sums[r][v];
        if (g.accumulate) y = V::Add(y, V::MaskLoad(out + v * kLanes, mask[v]));
        if (g.bias != nullptr) y = V::Add(y, V::MaskLoad(g.bias + column + v * kLanes, mask[v]));
        if (g.relu) y = V::Relu(y);
        V::MaskStore(out + v * kLanes, mask[v], y);
      }
    }
  }

  static void GemmBf16(const Bf16GemmBlock& g) {
    for (size_t column = 0; column < g.n; column += kColumnTile) {
      size_t row = 0;
      for (; row + kRowTile <= g.m; row += kRowTile) Bf16Tile<kRowTile>(g, row, column);
      for (; row < g.m; ++row) Bf16Tile<1>(g, row, column);
    }
  }

  // ---- codes ----

  /// Q queries over one block. A code times a query component takes 8 + 6 bits, two of them summed 15: no saturation.
  template <int Q>
  static void ScanBlock(const int8_t* queries, size_t depth, const uint8_t* codes, int32_t* sums,
                        size_t sum_stride) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i low[Q], high[Q];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) low[q] = high[q] = _mm256_setzero_si256();
    for (size_t d = 0; d < depth; d += kCodeGroup, codes += kCodeBlock * kCodeGroup) {
      const __m256i items0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes));
      const __m256i items1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + 32));
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
        int group;
        memcpy(&group, queries + static_cast<size_t>(q) * depth + d, sizeof(group));
        const __m256i x = _mm256_set1_epi32(group);
        low[q] = _mm256_add_epi32(low[q], _mm256_madd_epi16(_mm256_maddubs_epi16(items0, x), ones));
        high[q] =
            _mm256_add_epi32(high[q], _mm256_madd_epi16(_mm256_maddubs_epi16(items1, x), ones));
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
      int32_t* out = sums + static_cast<size_t>(q) * sum_stride;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), low[q]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), high[q]);
    }
  }

  static void ScanCodes(const int8_t* queries, size_t query_count, size_t depth,
                        const uint8_t* codes, size_t block_count, int32_t* sums,
                        size_t sum_stride) {
    const size_t block_bytes = depth * kCodeBlock;
    for (size_t block = 0; block < block_count; ++block) {
      const uint8_t* items = codes + block * block_bytes;
      int32_t* out = sums + block * kCodeBlock;
      size_t q = 0;
      for (; q + 4 <= query_count; q += 4) {
        ScanBlock<4>(queries + q * depth, depth, items, out + q * sum_stride, sum_stride);
      }
      for (; q < query_count; ++q) {
        ScanBlock<1>(queries + q * depth, depth, items, out + q * sum_stride, sum_stride);
      }
    }
  }

  static size_t SelectAboveInt(const int32_t* sums, size_t n, int32_t threshold, uint32_t* out) {
    const __m256i limit = _mm256_set1_epi32(threshold);
    size_t count = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + i));
      uint32_t bits = static_cast<uint32_t>(
          _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(x, limit))));
      for (; bits != 0; bits &= bits - 1) {
        out[count++] = static_cast<uint32_t>(i) + static_cast<uint32_t>(__builtin_ctz(bits));
      }
    }
    for (; i < n; ++i) {
      if (sums[i] > threshold) out[count++] = static_cast<uint32_t>(i);
    }
    return count;
  }
};

}  // namespace tandem
