// Unary and binary operations against f64 references, exp over its whole range, and dropout.

#include <algorithm>

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

double ReferenceUnary(UnaryOp op, double x) {
  switch (op) {
    case UnaryOp::kRelu:
      return x < 0 ? 0 : x;
    case UnaryOp::kStep:
      return std::isnan(x) ? x : (x > 0 ? 1 : 0);
    case UnaryOp::kExp:
      return std::exp(x);
    case UnaryOp::kLog:
      return std::log(x);
    case UnaryOp::kSqrt:
      return std::sqrt(x);
    case UnaryOp::kRsqrt:
      return 1.0 / std::sqrt(x);
    case UnaryOp::kSquare:
      return x * x;
    case UnaryOp::kNeg:
      return -x;
  }
  return x;
}

/// Distance of `actual` from the f64 value, in units of the last place of the nearest f32.
double UlpError(float actual, double expected) {
  const float nearest = static_cast<float>(expected);
  if (std::isnan(expected)) return std::isnan(actual) ? 0 : 1e9;
  if (std::isinf(nearest)) return actual == nearest ? 0 : 1e9;
  const float magnitude = std::max(std::fabs(nearest), std::numeric_limits<float>::min());
  const double ulp =
      static_cast<double>(std::nextafterf(magnitude, kInf)) - static_cast<double>(magnitude);
  return std::fabs(static_cast<double>(actual) - expected) / ulp;
}

void TestUnary(const KernelTable& kernels) {
  Random random(4);
  const UnaryOp ops[] = {UnaryOp::kRelu, UnaryOp::kStep,  UnaryOp::kExp,    UnaryOp::kLog,
                         UnaryOp::kSqrt, UnaryOp::kRsqrt, UnaryOp::kSquare, UnaryOp::kNeg};
  const std::vector<float> odd = {0.0f,   -0.0f,  kNan,   kInf,   -kInf,  kDenormal, -kDenormal,
                                  88.7f,  88.8f,  89.5f,  200.0f, -86.9f, -87.5f,    -95.0f,
                                  -103.f, -104.f, -110.f, -1e30f, 3e38f,  1.0f};
  for (const UnaryOp op : ops) {
    const double budget = op == UnaryOp::kExp ? 2.0 : op == UnaryOp::kRsqrt ? 1.5 : 1.0;
    for (const std::size_t n : Sizes()) {
      Unaligned a(random.Floats(n));
      for (std::size_t i = 0; i < n; ++i) a.data()[i] *= i % 2 == 0 ? 100.0f : 1.0f;
      Unaligned out(n);
      kernels.unary(op, a.data(), n, out.data());
      CHECK(out.intact());
      for (std::size_t i = 0; i < n; ++i) {
        const double expected = ReferenceUnary(op, static_cast<double>(a.data()[i]));
        CHECK(UlpError(out.data()[i], expected) <= budget);
      }
    }
    std::vector<float> in = odd;
    std::vector<float> out(in.size());
    kernels.unary(op, in.data(), in.size(), out.data());
    for (std::size_t i = 0; i < in.size(); ++i) {
      const double expected = ReferenceUnary(op, static_cast<double>(in[i]));
      if (!(UlpError(out[i], expected) <= budget)) {
        Fail(__FILE__, __LINE__,
             "op " + std::to_string(static_cast<int>(op)) + " of " + std::to_string(in[i]) +
                 " gave " + std::to_string(out[i]));
      }
    }
  }
  // The whole range of exp, including results below FLT_MIN.
  std::vector<float> x;
  for (float value = -104.0f; value < 89.0f; value += 0.00137f) x.push_back(value);
  std::vector<float> y(x.size());
  kernels.unary(UnaryOp::kExp, x.data(), x.size(), y.data());
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, UlpError(y[i], std::exp(static_cast<double>(x[i]))));
  }
  CHECK(worst <= 2.0);
}

void TestBinary(const KernelTable& kernels) {
  Random random(5);
  const BinaryOp ops[] = {BinaryOp::kAdd, BinaryOp::kSub, BinaryOp::kMul, BinaryOp::kDiv,
                          BinaryOp::kMax};
  const BinaryForm forms[] = {BinaryForm::kBoth, BinaryForm::kScalarA, BinaryForm::kScalarB};
  for (const BinaryOp op : ops) {
    for (const BinaryForm form : forms) {
      for (const std::size_t n : Sizes()) {
        Unaligned a(random.Floats(std::max<std::size_t>(1, n)));
        Unaligned b(random.Floats(std::max<std::size_t>(1, n)));
        if (n > 4) a.data()[n - 1] = kNan;
        if (n > 4) b.data()[n - 2] = kNan;
        if (n > 4) b.data()[n - 3] = kInf;
        if (n > 4) a.data()[1] = kDenormal;
        Unaligned out(n);
        kernels.binary(op, form, a.data(), b.data(), n, out.data());
        CHECK(out.intact());
        for (std::size_t i = 0; i < n; ++i) {
          const float x = a.data()[form == BinaryForm::kScalarA ? 0 : i];
          const float y = b.data()[form == BinaryForm::kScalarB ? 0 : i];
          float expected = 0;
          if (op == BinaryOp::kAdd) expected = x + y;
          if (op == BinaryOp::kSub) expected = x - y;
          if (op == BinaryOp::kMul) expected = x * y;
          if (op == BinaryOp::kDiv) expected = x / y;
          if (op == BinaryOp::kMax) {
            expected = std::isnan(x) || std::isnan(y) ? kNan : std::max(x, y);
          }
          CHECK_NEAR(out.data()[i], expected, 0.0);
        }
      }
    }
  }
}

void TestDropout(const KernelTable& kernels) {
  Random random(19);
  for (const std::size_t n : Sizes()) {
    Unaligned a(random.Floats(n));
    Unaligned out(n);
    Unaligned reference(n);
    const std::uint32_t seed = static_cast<std::uint32_t>(random.Next());
    // An index that wraps around 32 bits inside the run.
    const std::uint32_t first = 0u - static_cast<std::uint32_t>(n / 2);
    kernels.dropout(seed, first, 0x40000000u, 1.25f, a.data(), n, out.data());
    ScalarKernels().dropout(seed, first, 0x40000000u, 1.25f, a.data(), n, reference.data());
    CHECK(out.intact());
    for (std::size_t i = 0; i < n; ++i) CHECK(out.data()[i] == reference.data()[i]);
    kernels.dropout(seed, first, 0x40000000u, 1.25f, a.data(), n, a.data());
    for (std::size_t i = 0; i < n; ++i) CHECK(a.data()[i] == out.data()[i]);
  }
  // Shares of kept units, alone, and jointly at neighbouring indices and seeds. Independent draws
  // differ by at most 5 standard deviations.
  const std::size_t n = 100000;
  const std::vector<float> ones(n, 1.0f);
  std::vector<float> one(n), other(n);
  kernels.dropout(7, 0, 0x40000000u, 1.0f, ones.data(), n, one.data());
  kernels.dropout(8, 0, 0x40000000u, 1.0f, ones.data(), n, other.data());
  double kept = 0, kept_in_both = 0, kept_neighbours = 0;
  for (std::size_t i = 0; i < n; ++i) {
    kept += static_cast<double>(one[i]);
    kept_in_both += static_cast<double>(one[i] * other[i]);
    if (i > 0) kept_neighbours += static_cast<double>(one[i] * one[i - 1]);
  }
  CHECK_NEAR(kept / n, 0.75, 0.007);
  CHECK_NEAR(kept_in_both / n, 0.5625, 0.008);
  CHECK_NEAR(kept_neighbours / n, 0.5625, 0.008);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestUnary(kernels);
    TestBinary(kernels);
    TestDropout(kernels);
  });
  return Finish("elementwise");
}
