// Which kernel tables this process may use.
#pragma once

#include <array>
#include <cstddef>

#include "kernels/kernels.h"

namespace tandem {

/// Tables this CPU and operating system can run, slowest first.
struct AvailableKernels {
  std::array<const KernelTable*, 4> tables{};
  std::size_t count = 0;
};

/// Probes the CPU and the register state the OS saves, once per process, and composes the tables.
const AvailableKernels& ProbeKernels() noexcept;

}  // namespace tandem
