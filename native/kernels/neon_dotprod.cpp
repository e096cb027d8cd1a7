// SDOT (ARMv8.2 dot product) sums four products of a code and a query component in one instruction.

#include "kernels/neon.h"

namespace tandem {
namespace {

struct NeonDotprod : Neon {
  static CodeSums DotCodes(const Codes& codes, int8x16_t group, CodeSums sums) {
    for (int i = 0; i < 4; ++i) {
      sums.quarter[i] = vdotq_s32(sums.quarter[i], codes.quarter[i], group);
    }
    return sums;
  }
};

}  // namespace

void OverlayNeonDotprod(KernelTable* table) noexcept {
  table->scan_codes = VectorCodes<NeonDotprod>::Scan;
}

}  // namespace tandem
