// Weighted sums of rows against f64 references.

#include <algorithm>

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void TestBag(const KernelTable& kernels) {
  Random random(9);
  for (const std::size_t n : Sizes()) {
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{7}}) {
      const std::vector<float> weights = random.Floats(count);
      std::vector<Unaligned> terms;
      std::vector<const float*> rows;
      for (std::size_t t = 0; t < count; ++t) terms.emplace_back(random.Floats(n));
      for (Unaligned& term : terms) rows.push_back(term.data());
      for (const bool accumulate : {false, true}) {
        for (const bool relu : {false, true}) {
          Unaligned y(random.Floats(n));
          const Unaligned before = y;
          kernels.bag(rows.data(), weights.data(), count, n, accumulate, relu, y.data());
          CHECK(y.intact());
          for (std::size_t i = 0; i < n; ++i) {
            double expected = accumulate ? static_cast<double>(before.memory[i + 1]) : 0.0;
            for (std::size_t t = 0; t < count; ++t) {
              expected += static_cast<double>(weights[t]) * static_cast<double>(rows[t][i]);
            }
            // 7 terms below 1: each addition rounds by at most 2^-24 of a sum below 8.
            CHECK_NEAR(y.data()[i], relu ? std::max(expected, 0.0) : expected, 4e-6);
          }
        }
      }
    }
  }
}

void TestAxpy(const KernelTable& kernels) {
  Random random(8);
  for (const std::size_t n : Sizes()) {
    Unaligned x(random.Floats(n));
    Unaligned y(random.Floats(n));
    const Unaligned before = y;
    kernels.axpy(0.3f, x.data(), n, y.data());
    CHECK(y.intact());
    for (std::size_t i = 0; i < n; ++i) {
      const double expected = static_cast<double>(before.memory[i + 1]) +
                              static_cast<double>(0.3f) * static_cast<double>(x.data()[i]);
      CHECK_NEAR(y.data()[i], expected, 3e-7);
    }
  }
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestBag(kernels);
    TestAxpy(kernels);
  });
  return Finish("weighted_sum");
}
