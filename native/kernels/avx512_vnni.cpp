// VPDPBUSD sums four products of a code and a query component in one instruction.

#include "kernels/avx512.h"

namespace tandem {
namespace {

struct Avx512Vnni : Avx512 {
  static CodeSums DotCodes(Codes codes, __m512i group, CodeSums sums) {
    return _mm512_dpbusd_epi32(sums, codes, group);
  }
};

}  // namespace

void OverlayAvx512Vnni(KernelTable* table) noexcept {
  table->scan_codes = VectorCodes<Avx512Vnni>::Scan;
}

}  // namespace tandem
