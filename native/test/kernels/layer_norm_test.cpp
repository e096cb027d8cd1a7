// Layer normalisation and its gradient against f64 references.

#include <algorithm>

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void TestLayerNorm(const KernelTable& kernels) {
  Random random(17);
  for (const std::size_t n : Sizes()) {
    if (n == 0) continue;
    const std::size_t rows = 1 + random.Below(5);
    const std::size_t stride = n + random.Below(3);
    Unaligned a(random.Floats(rows * stride));
    // The second row is far from zero and the third is constant: a mean that is subtracted too late
    // would show in the second, and epsilon in the third.
    for (std::size_t i = 0; i < n && rows > 1; ++i) a.data()[stride + i] += 100.0f;
    for (std::size_t i = 0; i < n && rows > 2; ++i) a.data()[2 * stride + i] = 3.0f;
    Unaligned scale(random.Floats(n));
    Unaligned offset(random.Floats(n));
    Unaligned out(rows * n);
    kernels.layer_norm(a.data(), stride, rows, n, scale.data(), offset.data(), 1e-5f, out.data(),
                       n);
    CHECK(out.intact());
    for (std::size_t r = 0; r < rows; ++r) {
      const float* row = a.data() + r * stride;
      double mean = 0;
      double largest = 0;
      for (std::size_t i = 0; i < n; ++i) {
        mean += static_cast<double>(row[i]) / static_cast<double>(n);
        largest = std::max(largest, std::fabs(static_cast<double>(row[i])));
      }
      double variance = 0;
      for (std::size_t i = 0; i < n; ++i) {
        variance += std::pow(static_cast<double>(row[i]) - mean, 2) / static_cast<double>(n);
      }
      const double inverse = 1 / std::sqrt(variance + 1e-5);
      for (std::size_t i = 0; i < n; ++i) {
        const double unit = (static_cast<double>(row[i]) - mean) * inverse;
        const double expected =
            unit * static_cast<double>(scale.data()[i]) + static_cast<double>(offset.data()[i]);
        // The mean rounds by an ulp or two of the largest element, which `inverse` magnifies.
        CHECK_NEAR(out.data()[r * n + i], expected,
                   1e-6 * (1 + std::fabs(unit)) + 3e-7 * largest * inverse);
      }
    }
    if (stride == n) {
      kernels.layer_norm(a.data(), n, rows, n, scale.data(), offset.data(), 1e-5f, a.data(), n);
      for (std::size_t i = 0; i < rows * n; ++i) CHECK(a.data()[i] == out.data()[i]);
    }
  }
}

void TestLayerNormBackward(const KernelTable& kernels) {
  Random random(18);
  for (const std::size_t n : Sizes()) {
    if (n == 0) continue;
    const std::size_t rows = 1 + random.Below(4);
    Unaligned a(random.Floats(rows * n));
    Unaligned dy(random.Floats(rows * n));
    Unaligned scale(random.Floats(n));
    const std::vector<float> before = random.Floats(2 * n);
    Unaligned dscale(std::vector<float>(before.begin(), before.begin() + static_cast<long>(n)));
    Unaligned doffset(std::vector<float>(before.begin() + static_cast<long>(n), before.end()));
    Unaligned da(rows * n);
    kernels.layer_norm_backward(a.data(), dy.data(), rows, n, scale.data(), 1e-3f, da.data(),
                                dscale.data(), doffset.data());
    CHECK(da.intact() && dscale.intact() && doffset.intact());
    std::vector<double> expected_scale(before.begin(), before.begin() + static_cast<long>(n));
    std::vector<double> expected_offset(before.begin() + static_cast<long>(n), before.end());
    const double count = static_cast<double>(n);
    for (std::size_t r = 0; r < rows; ++r) {
      const float* row = a.data() + r * n;
      const float* gradient = dy.data() + r * n;
      double mean = 0, variance = 0, sum = 0, product = 0;
      for (std::size_t i = 0; i < n; ++i) mean += static_cast<double>(row[i]) / count;
      for (std::size_t i = 0; i < n; ++i) {
        variance += std::pow(static_cast<double>(row[i]) - mean, 2) / count;
      }
      const double inverse = 1 / std::sqrt(variance + 1e-3);
      for (std::size_t i = 0; i < n; ++i) {
        const double unit = (static_cast<double>(row[i]) - mean) * inverse;
        const double y = static_cast<double>(gradient[i]);
        expected_scale[i] += y * unit;
        expected_offset[i] += y;
        sum += y * static_cast<double>(scale.data()[i]) / count;
        product += y * static_cast<double>(scale.data()[i]) * unit / count;
      }
      for (std::size_t i = 0; i < n; ++i) {
        const double unit = (static_cast<double>(row[i]) - mean) * inverse;
        const double g = static_cast<double>(gradient[i]) * static_cast<double>(scale.data()[i]);
        // Differences of close numbers, magnified by `inverse`, which epsilon keeps below 32.
        CHECK_NEAR(da.data()[r * n + i], inverse * (g - sum - unit * product), 1e-6 * inverse * 4);
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      CHECK_NEAR(dscale.data()[i], expected_scale[i], 1e-5);
      CHECK_NEAR(doffset.data()[i], expected_offset[i], 2e-6);
    }
  }
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestLayerNorm(kernels);
    TestLayerNormBackward(kernels);
  });
  return Finish("layer_norm");
}
