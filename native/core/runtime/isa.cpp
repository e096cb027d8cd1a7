// Finds the kernel table of an instruction set among those that the CPU and the operating system
// support.

#include "core/runtime/isa.h"

#include <cstdlib>

namespace tandem {
namespace {

const KernelTable* Lookup(const std::string& name) {
  const AvailableKernels& found = ProbeKernels();
  for (std::size_t i = 0; i < found.count; ++i) {
    if (name == found.tables[i]->isa) return found.tables[i];
  }
  return nullptr;
}

/// "scalar, avx2": the instruction sets that this machine runs, slowest first.
std::string AvailableIsaNames() {
  const AvailableKernels& found = ProbeKernels();
  std::string names;
  for (std::size_t i = 0; i < found.count; ++i) {
    if (i > 0) names += ", ";
    names += found.tables[i]->isa;
  }
  return names;
}

}  // namespace

Status FindKernels(const std::string& name, const KernelTable** table) {
  *table = Lookup(name);
  if (*table != nullptr) return Status::Ok();
  return Status::OutOfRange("Expected an instruction set this machine runs for isa (" +
                            AvailableIsaNames() + "), received \"" + name +
                            "\". Leave isa out to take the fastest.");
}

Status DefaultKernels(const KernelTable** table) {
  static const char* const wanted = std::getenv("TANDEM_ISA");
  const AvailableKernels& found = ProbeKernels();
  if (wanted == nullptr || *wanted == '\0') {
    *table = found.tables[found.count - 1];
    return Status::Ok();
  }
  *table = Lookup(wanted);
  if (*table != nullptr) return Status::Ok();
  return Status::ConfigInvalid(
      "Expected TANDEM_ISA to name an instruction set this machine runs (" + AvailableIsaNames() +
      "), received \"" + wanted + "\". Unset TANDEM_ISA to take the fastest.");
}

}  // namespace tandem
