// Inner products against an f64 reference, the selection above a threshold, and the check for NaN
// and Inf.

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void TestDotOf(const KernelTable& kernels, std::size_t queries, std::size_t n, Random* random) {
  const std::size_t items = 1 + random->Below(19);
  Unaligned q(random->Floats(queries * n));
  Unaligned x(random->Floats(items * n));
  Unaligned scores(queries * items);
  kernels.dot_block(q.data(), n, queries, x.data(), n, items, n, scores.data(), items);
  CHECK(scores.intact());
  for (std::size_t i = 0; i < queries; ++i) {
    for (std::size_t j = 0; j < items; ++j) {
      const float* a = q.data() + i * n;
      const float* b = x.data() + j * n;
      double sum = 0;
      for (std::size_t p = 0; p < n; ++p) {
        sum += static_cast<double>(a[p]) * static_cast<double>(b[p]);
      }
      const float score = scores.data()[i * items + j];
      CHECK_NEAR(score, sum, static_cast<double>(n + 1) * static_cast<double>(n + 1) * 3e-8);
      CHECK(score == kernels.dot(a, b, n));
    }
  }
}

void TestDot(const KernelTable& kernels) {
  Random random(2);
  // Every way to group queries, twice over.
  for (const std::size_t n : Sizes()) {
    for (std::size_t queries = 1; queries <= 9; ++queries) {
      TestDotOf(kernels, queries, n, &random);
    }
  }
}

void TestSelectAboveAndFinite(const KernelTable& kernels) {
  Random random(3);
  for (const std::size_t n : Sizes()) {
    Unaligned a(random.Floats(n));
    if (n > 3) a.data()[n / 2] = kNan;
    if (n > 3) a.data()[0] = 0.25f;
    std::vector<std::uint32_t> out(n + 1, 77);
    const std::size_t count = kernels.select_above(a.data(), n, 0.25f, out.data());
    std::size_t expected = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (!(a.data()[i] > 0.25f)) continue;
      CHECK(expected < count && out[expected] == i);
      ++expected;
    }
    CHECK(count == expected);
    CHECK(kernels.all_finite(a.data(), n) == (n <= 3));
    for (std::size_t i = 0; i < n; ++i) {
      std::vector<float> b(n, std::numeric_limits<float>::max());
      CHECK(kernels.all_finite(b.data(), n));
      b[i] = i % 2 == 0 ? kInf : kNan;
      CHECK(!kernels.all_finite(b.data(), n));
    }
  }
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestDot(kernels);
    TestSelectAboveAndFinite(kernels);
  });
  return Finish("dot");
}
