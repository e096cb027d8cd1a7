// AVX-512 on every CPU with F, BW, DQ and VL. avx512_vnni.cpp and avx512_bf16.cpp are overlays of
// this table.

#include "kernels/avx512.h"

namespace tandem {
namespace {

constexpr KernelTable kTable = VectorTable<Avx512>("avx512");

}  // namespace

const KernelTable& Avx512Kernels() noexcept { return kTable; }

}  // namespace tandem
