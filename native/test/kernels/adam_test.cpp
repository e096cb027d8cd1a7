// One step of Adam against an f64 reference.

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void TestAdam(const KernelTable& kernels) {
  Random random(8);
  for (const std::size_t n : Sizes()) {
    Unaligned x(random.Floats(n));
    Unaligned p(random.Floats(n));
    Unaligned m(random.Floats(n));
    Unaligned v(random.Floats(n));
    for (std::size_t i = 0; i < n; ++i) v.data()[i] = std::fabs(v.data()[i]);
    const Unaligned p0 = p, m0 = m, v0 = v;
    AdamStep step = {};
    step.beta1 = 0.9f;
    step.beta2 = 0.999f;
    step.first_correction = 1.5f;
    step.second_correction = 20.0f;
    step.learning_rate = 0.01f;
    step.epsilon = 1e-7f;
    kernels.adam(step, x.data(), n, p.data(), m.data(), v.data());
    CHECK(p.intact() && m.intact() && v.intact());
    for (std::size_t i = 0; i < n; ++i) {
      const double g = static_cast<double>(x.data()[i]);
      const double m1 = 0.9 * static_cast<double>(m0.memory[i + 1]) + 0.1 * g;
      const double v1 = 0.999 * static_cast<double>(v0.memory[i + 1]) + 0.001 * g * g;
      CHECK_NEAR(m.data()[i], m1, 1e-6);
      CHECK_NEAR(v.data()[i], v1, 1e-6);
      const double expected =
          static_cast<double>(p0.memory[i + 1]) - 0.01 * m1 * 1.5 / (std::sqrt(v1 * 20.0) + 1e-7);
      CHECK_NEAR(p.data()[i], expected, 1e-5);
    }
  }
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) { TestAdam(kernels); });
  return Finish("adam");
}
