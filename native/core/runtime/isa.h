// Which kernel table an object uses: named by the caller, else TANDEM_ISA, else the fastest this machine runs.
#pragma once

#include <string>

#include "core/runtime/status.h"
#include "kernels/dispatch.h"
#include "kernels/kernels.h"

namespace tandem {

/// The table called `name`; OutOfRange lists what there is.
Status FindKernels(const std::string& name, const KernelTable** table);

/// TANDEM_ISA when set (ConfigInvalid when this machine lacks it), else the fastest. Read once per process.
Status DefaultKernels(const KernelTable** table);

}  // namespace tandem
