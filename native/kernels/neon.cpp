// NEON on every 64-bit ARM CPU. neon_dotprod.cpp is an overlay of this table.

#include "kernels/neon.h"

namespace tandem {
namespace {

constexpr KernelTable kTable = VectorTable<Neon>("neon");

}  // namespace

const KernelTable& NeonKernels() noexcept { return kTable; }

}  // namespace tandem
