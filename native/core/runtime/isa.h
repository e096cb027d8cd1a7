// The kernel table that an object uses: the one that the caller names, else the one that TANDEM_ISA
// names, else the fastest that this machine runs.
#pragma once

#include <string>

#include "core/runtime/status.h"
#include "kernels/dispatch.h"
#include "kernels/kernels.h"

namespace tandem {

/// The table called `name`. OutOfRange lists the tables of this machine.
Status FindKernels(const std::string& name, const KernelTable** table);

/// The table that TANDEM_ISA names (ConfigInvalid when this machine lacks it), else the fastest.
/// The variable is read once in a process.
Status DefaultKernels(const KernelTable** table);

}  // namespace tandem
