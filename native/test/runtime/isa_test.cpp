// TANDEM_ISA from the environment to the table. ctest runs this once for each name, known or
// unknown, and once without any.

#include "core/runtime/isa.h"

#include <cstdlib>
#include <cstring>

#include "test/check.h"

namespace tandem::test {
namespace {

bool Available(const char* name) {
  bool found = false;
  ForEachIsa([&](const KernelTable& kernels) { found |= std::strcmp(kernels.isa, name) == 0; });
  return found;
}

void CheckListsAll(const Status& status, const char* received) {
  ForEachIsa([&](const KernelTable& kernels) {
    CHECK(status.message().find(kernels.isa) != std::string::npos);
  });
  CHECK(status.message().find(std::string("received \"") + received + "\"") != std::string::npos);
}

void TestDefault(const char* wanted) {
  const KernelTable* table = nullptr;
  const Status status = DefaultKernels(&table);
  const AvailableKernels& found = ProbeKernels();
  if (wanted == nullptr || *wanted == '\0') {
    CHECK_OK(status);
    CHECK(table == found.tables[found.count - 1]);
  } else if (Available(wanted)) {
    CHECK_OK(status);
    CHECK(std::strcmp(table->isa, wanted) == 0);
  } else {
    CHECK(status.code() == StatusCode::kConfigInvalid);
    CHECK(table == nullptr);
    CheckListsAll(status, wanted);
  }
}

void TestByName() {
  ForEachIsa([](const KernelTable& kernels) {
    const KernelTable* table = nullptr;
    CHECK_OK(FindKernels(kernels.isa, &table));
    CHECK(table == &kernels);
  });
  const KernelTable* table = nullptr;
  const Status status = FindKernels("mmx", &table);
  CHECK(status.code() == StatusCode::kOutOfRange);
  CheckListsAll(status, "mmx");
}

/// The instruction sets that the build is for must be there; otherwise every other test would pass
/// without having run them.
void TestProbe() {
  CHECK(Available("scalar"));
#if defined(TANDEM_EMULATE)
  CHECK(Available("avx2") && Available("avx512") && Available("amx"));
#elif defined(__aarch64__)
  CHECK(Available("neon"));
#endif
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  TestProbe();
  TestDefault(std::getenv("TANDEM_ISA"));
  TestByName();
  return Finish("isa");
}
