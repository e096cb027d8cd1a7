// Softmax of a row and of the rows of causal attention against f64 references, with masked scores
// and NaN.

#include <algorithm>

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void TestSoftmax(const KernelTable& kernels) {
  Random random(7);
  for (const std::size_t n : Sizes()) {
    if (n == 0) continue;
    Unaligned a(random.Floats(n));
    for (std::size_t i = 0; i < n; ++i) a.data()[i] *= 30.0f;
    if (n > 2) a.data()[1] = -1e9f;  // A masked position.
    if (n > 5) a.data()[2] = -kInf;
    Unaligned out(n);
    kernels.softmax_row(a.data(), n, out.data());
    CHECK(out.intact());
    double max = -1e300;
    for (std::size_t i = 0; i < n; ++i) max = std::max(max, static_cast<double>(a.data()[i]));
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(a.data()[i]) - max);
    for (std::size_t i = 0; i < n; ++i) {
      const double x = static_cast<double>(a.data()[i]) - max;
      // a - max rounds by half an ulp of |x|, which exp turns into a relative error.
      const double budget = (1e-6 + 6e-8 * std::fabs(x)) * std::exp(x) / sum + 1e-38;
      CHECK_NEAR(out.data()[i], std::exp(x) / sum, budget);
    }
    kernels.softmax_row(a.data(), n, a.data());
    for (std::size_t i = 0; i < n; ++i) CHECK(a.data()[i] == out.data()[i]);
  }
  float with_nan[9] = {1, 2, kNan, 4, 5, 6, 7, 8, 9};
  kernels.softmax_row(with_nan, 9, with_nan);
  for (const float y : with_nan) CHECK(std::isnan(y));
}

void TestSoftmaxCausal(const KernelTable& kernels) {
  Random random(18);
  for (std::size_t trial = 0; trial < 200; ++trial) {
    const std::size_t rows = random.Below(27);
    const std::size_t first = random.Below(70);
    const std::size_t n = first + rows;
    const std::size_t stride = n + random.Below(3);
    Unaligned a(random.Floats(rows == 0 ? 0 : (rows - 1) * stride + n));
    // Hidden scores are larger than all visible ones: a maximum that looked ahead would turn whole
    // rows to 0.
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < n; ++i) {
        float& x = a.data()[r * stride + i];
        x = i > first + r ? 1e6f + x : trial % 2 == 0 ? x : 40.0f * x;
      }
    }
    const Unaligned before = a;
    kernels.softmax_causal(a.data(), stride, rows, first);
    CHECK(a.intact());
    for (std::size_t r = 0; r < rows; ++r) {
      const float* x = before.memory.data() + 1 + r * stride;
      const float* y = a.data() + r * stride;
      double max = -1e300;
      double sum = 0;
      for (std::size_t i = 0; i <= first + r; ++i) max = std::max(max, static_cast<double>(x[i]));
      for (std::size_t i = 0; i <= first + r; ++i) sum += std::exp(static_cast<double>(x[i]) - max);
      for (std::size_t i = 0; i < n; ++i) {
        const double exponent = static_cast<double>(x[i]) - max;
        const double expected = i > first + r ? 0 : std::exp(exponent) / sum;
        CHECK_NEAR(y[i], expected, (1e-6 + 6e-8 * std::fabs(exponent)) * expected + 1e-38);
      }
      for (std::size_t i = n; i < stride && r + 1 < rows; ++i) CHECK(y[i] == x[i]);
    }
  }
  float with_nan[8] = {1, 2, kNan, 3, 4, 5, 6, 7};
  kernels.softmax_causal(with_nan, 4, 2, 2);
  for (std::size_t i = 0; i < 3; ++i) CHECK(std::isnan(with_nan[i]));
  for (std::size_t i = 4; i < 8; ++i) CHECK(std::isfinite(with_nan[i]));
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestSoftmax(kernels);
    TestSoftmaxCausal(kernels);
  });
  return Finish("softmax");
}
