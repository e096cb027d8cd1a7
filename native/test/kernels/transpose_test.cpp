// Every element of a transposed matrix, for sizes around the tiles.

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void TestTranspose(const KernelTable& kernels) {
  Random random(8);
  for (std::size_t rows = 0; rows <= 26; ++rows) {
    for (std::size_t columns = 0; columns <= 26; ++columns) {
      Unaligned a(random.Floats(rows * columns));
      Unaligned out(rows * columns);
      kernels.transpose(a.data(), columns, rows, columns, out.data(), rows);
      CHECK(out.intact());
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < columns; ++c) {
          CHECK(out.data()[c * rows + r] == a.data()[r * columns + c]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) { TestTranspose(kernels); });
  return Finish("transpose");
}
