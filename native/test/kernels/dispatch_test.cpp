// Every table that this machine runs has all of its entries.

#include <cstring>

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void TestTableIsComplete(const KernelTable& kernels) {
  std::uintptr_t words[sizeof(KernelTable) / sizeof(std::uintptr_t)];
  std::memcpy(words, &kernels, sizeof(words));
  for (const std::uintptr_t word : words) CHECK(word != 0);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) { TestTableIsComplete(kernels); });
  return Finish("dispatch");
}
