// Sums and maxima of rows and of columns against f64 references.

#include <algorithm>

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void TestReductions(const KernelTable& kernels) {
  Random random(6);
  for (const std::size_t n : Sizes()) {
    Unaligned a(random.Floats(n));
    double sum = 0;
    float max = -kInf;
    for (std::size_t i = 0; i < n; ++i) {
      sum += static_cast<double>(a.data()[i]);
      max = std::max(max, a.data()[i]);
    }
    CHECK_NEAR(kernels.reduce_row(ReduceOp::kSum, a.data(), n), sum,
               static_cast<double>(n + 1) * 1e-6);
    CHECK(kernels.reduce_row(ReduceOp::kMax, a.data(), n) == max);
    if (n > 0) {
      a.data()[random.Below(n)] = kNan;
      CHECK(std::isnan(kernels.reduce_row(ReduceOp::kMax, a.data(), n)));
    }
    for (const std::size_t rows :
         {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{300}}) {
      const std::size_t stride = n + random.Below(3);
      Unaligned table(random.Floats(rows * stride + n));
      Unaligned sums(n);
      Unaligned maxima(n);
      kernels.reduce_columns(ReduceOp::kSum, table.data(), rows, stride, n, sums.data());
      kernels.reduce_columns(ReduceOp::kMax, table.data(), rows, stride, n, maxima.data());
      CHECK(sums.intact());
      CHECK(maxima.intact());
      for (std::size_t c = 0; c < n; ++c) {
        double expected = 0;
        float best = -kInf;
        for (std::size_t r = 0; r < rows; ++r) {
          expected += static_cast<double>(table.data()[r * stride + c]);
          best = std::max(best, table.data()[r * stride + c]);
        }
        CHECK_NEAR(sums.data()[c], expected, static_cast<double>(rows + 1) * 1e-6);
        CHECK(maxima.data()[c] == best);
      }
    }
  }
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) { TestReductions(kernels); });
  return Finish("reductions");
}
