// The kernel tables that this process may use.
#pragma once

#include <array>
#include <cstddef>

#include "kernels/kernels.h"

namespace tandem {

/// The tables that this CPU and operating system can run, slowest first.
struct AvailableKernels {
  std::array<const KernelTable*, 4> tables{};
  std::size_t count = 0;
};

/// Probes the CPU and the register state that the operating system saves, once in a process, and
/// composes the tables.
const AvailableKernels& ProbeKernels() noexcept;

}  // namespace tandem
