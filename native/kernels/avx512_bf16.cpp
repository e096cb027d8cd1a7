// VDPBF16PS adds the product of two bf16 pairs to an f32 sum in one instruction. It flushes
// denormals.

#include "kernels/avx512.h"

namespace tandem {
namespace {

struct Avx512Bf16 : Avx512 {
  using Pairs = __m512bh;
  static Pairs LoadPairs(const uint16_t* p) { return (__m512bh)_mm512_loadu_si512(p); }
  static Pairs BroadcastPair(int32_t pair) { return (__m512bh)_mm512_set1_epi32(pair); }
  static F DotPairs(Pairs a, Pairs b, F sum) { return _mm512_dpbf16_ps(sum, a, b); }
};

}  // namespace

void OverlayAvx512Bf16(KernelTable* table) noexcept {
  table->gemm_bf16 = VectorBf16<Avx512Bf16>::Gemm;
}

}  // namespace tandem
