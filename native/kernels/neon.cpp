// NEON as every 64-bit ARM CPU has it; neon_dotprod.cpp is laid over it.

#include "kernels/neon.h"

namespace tandem {
namespace {

constexpr KernelTable kTable = VectorTable<Neon>("neon");

}  // namespace

const KernelTable& NeonKernels() noexcept { return kTable; }

}  // namespace tandem
