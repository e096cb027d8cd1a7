// Replaces the compiler's own <immintrin.h> in emulated builds. SIMDe provides what the AVX2 target
// lacks; this file and the tile unit provide what SIMDe lacks. The kernel sources need no change.
#pragma once

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <string.h>

#include "test/emulation/tile_unit.h"

namespace tandem::emulation {
namespace {

struct Missing {
  static __m512 MaskzLoadPs(__mmask16 mask, const void* p) {
    float lanes[16] = {};
    for (int i = 0; i < 16; ++i) {
      if ((mask >> i & 1) != 0) memcpy(lanes + i, static_cast<const float*>(p) + i, sizeof(float));
    }
    return _mm512_loadu_ps(lanes);
  }
  static void MaskStorePs(void* p, __mmask16 mask, __m512 x) {
    float lanes[16];
    _mm512_storeu_ps(lanes, x);
    for (int i = 0; i < 16; ++i) {
      if ((mask >> i & 1) != 0) memcpy(static_cast<float*>(p) + i, lanes + i, sizeof(float));
    }
  }
  static __m256 HalfPs(__m512 x, int half) {
    float lanes[16];
    _mm512_storeu_ps(lanes, x);
    return _mm256_loadu_ps(lanes + 8 * half);
  }
  static __m512i ConvertToInt(__m512 x) {
    int lanes[16];
    for (int half = 0; half < 2; ++half) {
      const __m256i whole = _mm256_cvtps_epi32(HalfPs(x, half));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes + 8 * half), whole);
    }
    return _mm512_loadu_si512(lanes);
  }
  static __m512i ShiftRight(__m512i x, unsigned count) {
    int lanes[16];
    _mm512_storeu_si512(lanes, x);
    for (int& lane : lanes) lane >>= count;
    return _mm512_loadu_si512(lanes);
  }
  /// SIMDe sums the pair first; the instruction adds the odd product and then the even one.
  static __m512 DotBf16(__m512 sum, __m512bh a, __m512bh b) {
    float lanes[16];
    uint16_t x[32];
    uint16_t y[32];
    _mm512_storeu_ps(lanes, sum);
    memcpy(x, &a, sizeof(x));
    memcpy(y, &b, sizeof(y));
    for (int i = 0; i < 16; ++i) {
      lanes[i] = FlushingFma(FromBf16(x[2 * i + 1]), FromBf16(y[2 * i + 1]), lanes[i]);
      lanes[i] = FlushingFma(FromBf16(x[2 * i]), FromBf16(y[2 * i]), lanes[i]);
    }
    return _mm512_loadu_ps(lanes);
  }
};

}  // namespace
}  // namespace tandem::emulation

#define _mm512_maskz_loadu_ps ::tandem::emulation::Missing::MaskzLoadPs
#define _mm512_mask_storeu_ps ::tandem::emulation::Missing::MaskStorePs
#define _mm512_extractf32x8_ps ::tandem::emulation::Missing::HalfPs
#define _mm512_cvtps_epi32 ::tandem::emulation::Missing::ConvertToInt
#define _mm512_srai_epi32 ::tandem::emulation::Missing::ShiftRight
#undef _mm512_madd_epi16  // SIMDe 0.7.4 gives this name to the masked one.
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps ::tandem::emulation::Missing::DotBf16

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_dpbusd
#undef _tile_dpbuud
#define _tile_loadconfig ::tandem::emulation::TileLoadConfig
#define _tile_release ::tandem::emulation::TileRelease
#define _tile_zero ::tandem::emulation::TileZero
#define _tile_loadd ::tandem::emulation::TileLoad
#define _tile_stored ::tandem::emulation::TileStore
#define _tile_dpbf16ps ::tandem::emulation::TileDotBf16
#define _tile_dpbssd ::tandem::emulation::TileDot<signed char, signed char>
#define _tile_dpbsud ::tandem::emulation::TileDot<signed char, unsigned char>
#define _tile_dpbusd ::tandem::emulation::TileDot<unsigned char, signed char>
#define _tile_dpbuud ::tandem::emulation::TileDot<unsigned char, unsigned char>
