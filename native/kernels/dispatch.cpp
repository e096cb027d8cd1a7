// Probes the CPU once and composes the tables that it can run: base tables, and overlays for what
// optional extensions do faster. An instruction set counts only when the operating system also
// saves its registers.

#include "kernels/dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__linux__) && defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace tandem {
namespace {

#if defined(__x86_64__)
struct Features {
  bool avx2 = false;
  bool avx512 = false;
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx = false;
};

/// XCR0: which register files the operating system saves on a context switch. Inline assembly,
/// because _xgetbv needs -mxsave.
unsigned ReadXcr0() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

/// Tile registers take 8 KiB in every signal frame, so Linux grants them only on request. The grant
/// holds for the process and for good.
bool RequestTiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Features ProbeFeatures() {
  Features found;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return found;
  const bool fma = (c & bit_FMA) != 0 && (c & bit_AVX) != 0;
  const unsigned xcr0 = ReadXcr0();
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  const unsigned subleaves = a;
  // Bits 1 and 2 are XMM and YMM; bits 5 to 7 are the mask registers and both halves of ZMM; bits
  // 17 and 18 are the tiles.
  found.avx2 = fma && (b & bit_AVX2) != 0 && (xcr0 & 0x6) == 0x6;
#if defined(TANDEM_EMULATE)
  found.avx512 = found.avx512_vnni = found.avx512_bf16 = found.amx = found.avx2;
  return found;
#endif
  const unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  found.avx512 = found.avx2 && (b & wanted) == wanted && (xcr0 & 0xE6) == 0xE6;
  found.avx512_vnni = found.avx512 && (c & (1u << 11)) != 0;
  const unsigned tiles = (1u << 22) | (1u << 24) | (1u << 25);  // AMX-BF16, AMX-TILE, AMX-INT8
  const bool amx = (d & tiles) == tiles && (xcr0 & 0x60000) == 0x60000;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    found.avx512_bf16 = found.avx512 && (a & (1u << 5)) != 0;
  }
  found.amx = found.avx512 && amx && RequestTiles();
  return found;
}
#endif

AvailableKernels Probe() noexcept {
  AvailableKernels found;
  const auto add = [&found](const KernelTable& table) { found.tables[found.count++] = &table; };
  add(ScalarKernels());
#if defined(__x86_64__)
  const Features features = ProbeFeatures();
  if (features.avx2) add(Avx2Kernels());
  if (features.avx512) {
    static KernelTable avx512 = Avx512Kernels();
    if (features.avx512_vnni) OverlayAvx512Vnni(&avx512);
    if (features.avx512_bf16) OverlayAvx512Bf16(&avx512);
    add(avx512);
#if defined(TANDEM_HAVE_AMX)
    if (features.amx) {
      static KernelTable amx = avx512;
      OverlayAmx(&amx);
      add(amx);
    }
#endif
  }
#elif defined(__aarch64__)
  static KernelTable neon = NeonKernels();
#if defined(__APPLE__)
  OverlayNeonDotprod(&neon);  // Every 64-bit Mac has it.
#elif defined(__linux__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) OverlayNeonDotprod(&neon);
#endif
  add(neon);
#endif
  return found;
}

}  // namespace

const AvailableKernels& ProbeKernels() noexcept {
  static const AvailableKernels found = Probe();
  return found;
}

}  // namespace tandem
