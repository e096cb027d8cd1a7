// Probes CPUID and XGETBV once: an instruction set counts only when the OS also saves its registers.

#include "dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tandem {
namespace {

#if defined(__x86_64__)
/// XCR0: which register files the OS saves on a context switch. Inline assembly, because _xgetbv needs -mxsave.
unsigned ReadXcr0() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
#endif

AvailableKernels Probe() noexcept {
  AvailableKernels found;
  found.tables[found.count++] = &ScalarKernels();
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return found;
  const bool fma = (c & bit_FMA) != 0 && (c & bit_AVX) != 0;
  const unsigned xcr0 = ReadXcr0();
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  // Bits 1 and 2: XMM and YMM; bits 5 to 7: mask registers and both halves of ZMM.
  if (!fma || (b & bit_AVX2) == 0 || (xcr0 & 0x6) != 0x6) return found;
  found.tables[found.count++] = &Avx2Kernels();
  const unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((b & wanted) == wanted && (xcr0 & 0xE6) == 0xE6) {
    found.tables[found.count++] = &Avx512Kernels();
  }
#endif
  return found;
}

}  // namespace

const AvailableKernels& ProbeKernels() noexcept {
  static const AvailableKernels found = Probe();
  return found;
}

}  // namespace tandem
