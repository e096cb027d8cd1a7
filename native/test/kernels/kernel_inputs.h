// Inputs of the kernel tests: sizes around the tiles, unusual values, memory with guards, and
// tables without their extensions.
#pragma once

#include <algorithm>
#include <limits>
#include <new>
#include <string>

#include "test/check.h"
#if defined(TANDEM_EMULATE)
#include "test/emulation/tile_unit.h"
#endif

namespace tandem::test {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kDenormal = 1e-41f;
/// Written around outputs, so that a store past the end is seen even without a sanitizer.
constexpr float kGuard = 12345.0f;

inline std::vector<std::size_t> Sizes() {
  std::vector<std::size_t> sizes;
  for (std::size_t n = 0; n <= 67; ++n) sizes.push_back(n);
  for (std::size_t n : {127, 128, 129, 255, 257, 300}) sizes.push_back(n);
  return sizes;
}

/// n floats that start one element past an aligned address, with a guard on each side.
struct Unaligned {
  explicit Unaligned(std::size_t n) : memory(n + 2, kGuard), size(n) {}
  Unaligned(const std::vector<float>& values) : Unaligned(values.size()) {
    std::copy(values.begin(), values.end(), memory.begin() + 1);
  }
  float* data() { return memory.data() + 1; }
  bool intact() const { return memory.front() == kGuard && memory[size + 1] == kGuard; }
  std::vector<float> memory;
  std::size_t size;
};

/// Memory that starts at a 64-byte boundary and is not a byte longer than needed, so that the
/// address sanitizer sees reads past the end.
template <class T>
struct Aligned {
  explicit Aligned(std::size_t n)
      : memory(static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64)))) {}
  ~Aligned() { ::operator delete(memory, std::align_val_t(64)); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  T* const memory;
};

/// Checks, after a call that may have used AMX tiles, that it released them.
inline void CheckTilesReleased() {
#if defined(TANDEM_EMULATE)
  CHECK(!emulation::TilesConfigured());
#endif
}

/// Calls body(table) for every instruction set of this machine, and again for a base table without
/// the extensions that replaced some of its entries.
template <class Body>
void ForEachIsaAndBase(const Body& body) {
  ForEachIsa([&body](const KernelTable& kernels) {
    body(kernels);
    const std::string isa = kernels.isa;
    Context() = isa + " without extensions";
#if defined(__x86_64__)
    if (isa == "avx512") body(Avx512Kernels());
#elif defined(__aarch64__)
    if (isa == "neon") body(NeonKernels());
#endif
    Context() = isa;
  });
}

}  // namespace tandem::test
