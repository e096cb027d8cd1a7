// Every kernel of every instruction set against an f64 reference: sizes around the tiles, unaligned, odd values.

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "core/runtime/gemm.h"
#include "test/check.h"
#if defined(TANDEM_EMULATE)
#include "test/emulation/tile_unit.h"
#endif

namespace tandem::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kDenormal = 1e-41f;
/// Written around outputs: a store past the end is seen even without a sanitizer.
constexpr float kGuard = 12345.0f;

std::vector<std::size_t> Sizes() {
  std::vector<std::size_t> sizes;
  for (std::size_t n = 0; n <= 67; ++n) sizes.push_back(n);
  for (std::size_t n : {127, 128, 129, 255, 257, 300}) sizes.push_back(n);
  return sizes;
}

/// n floats starting one element past an aligned address, with a guard behind.
struct Unaligned {
  explicit Unaligned(std::size_t n) : memory(n + 2, kGuard), size(n) {}
  Unaligned(const std::vector<float>& values) : Unaligned(values.size()) {
    std::copy(values.begin(), values.end(), memory.begin() + 1);
  }
  float* data() { return memory.data() + 1; }
  bool intact() const { return memory.front() == kGuard && memory[size + 1] == kGuard; }
  std::vector<float> memory;
  std::size_t size;
};

void TestGemm(const KernelTable& kernels) {
  Random random(1);
  const std::size_t tile = kernels.column_tile;
  std::vector<std::size_t> rows, columns;
  for (std::size_t m = 1; m <= 26; ++m) rows.push_back(m);
  for (std::size_t n : {std::size_t{1}, std::size_t{3}, tile / 2, tile / 2 + 1, tile - 1, tile,
                        tile + 1, 2 * tile, 2 * tile + 1, 4 * tile, 4 * tile + 3, 5 * tile - 1}) {
    columns.push_back(n);
  }
  for (const std::size_t m : rows) {
    for (const std::size_t n : columns) {
      for (const std::size_t k : {std::size_t{1}, std::size_t{2}, std::size_t{17}}) {
        const int variant = static_cast<int>(random.Below(16));
        const bool transposed = (variant & 1) != 0;
        const bool accumulate = (variant & 2) != 0;
        const bool with_bias = (variant & 4) != 0;
        const bool packed = (variant & 8) != 0;
        const bool relu = random.Below(2) == 1;
        Unaligned a(random.Floats(m * k));
        Unaligned b(random.Floats(k * n));
        Unaligned bias(random.Floats(n));
        Unaligned c(random.Floats(m * n));
        const Unaligned before = c;
        std::vector<float> panels(PackedSize(kernels, k, n));
        GemmBlock g = {};
        g.a = a.data();
        g.a_row_stride = transposed ? 1 : static_cast<ptrdiff_t>(k);
        g.a_k_stride = transposed ? static_cast<ptrdiff_t>(m) : 1;
        g.m = m;
        g.n = n;
        g.k = k;
        g.bias = with_bias ? bias.data() : nullptr;
        g.accumulate = accumulate;
        g.relu = relu;
        g.c = c.data();
        g.c_row_stride = static_cast<ptrdiff_t>(n);
        if (packed) {
          PackPanels(kernels, b.data(), n, false, k, n, panels.data());
          g.b = panels.data();
          g.b_k_stride = static_cast<ptrdiff_t>(tile);
          g.b_panel_stride = static_cast<ptrdiff_t>(tile * k);
        } else {
          g.b = b.data();
          g.b_k_stride = static_cast<ptrdiff_t>(n);
          g.b_panel_stride = static_cast<ptrdiff_t>(tile);
        }
        kernels.gemm(g);
        CHECK(c.intact());
        for (std::size_t i = 0; i < m; ++i) {
          for (std::size_t j = 0; j < n; ++j) {
            double sum = 0;
            for (std::size_t p = 0; p < k; ++p) {
              const float x = transposed ? a.data()[p * m + i] : a.data()[i * k + p];
              sum += static_cast<double>(x) * static_cast<double>(b.data()[p * n + j]);
            }
            if (accumulate) sum += static_cast<double>(before.memory[1 + i * n + j]);
            if (with_bias) sum += static_cast<double>(bias.data()[j]);
            if (relu) sum = std::max(sum, 0.0);
            // Each of k + 2 additions rounds by at most half an ulp of a sum below k + 2.
            CHECK_NEAR(c.data()[i * n + j], sum, static_cast<double>((k + 2) * (k + 2)) * 6e-8);
          }
        }
      }
    }
  }
}

void TestGemmPropagatesNan(const KernelTable& kernels) {
  const float a[2] = {kNan, 1.0f};
  const float b[1] = {1.0f};
  float c[2] = {0, 0};
  GemmBlock g = {};
  g.a = a;
  g.a_row_stride = 1;
  g.a_k_stride = 1;
  g.b = b;
  g.b_k_stride = 1;
  g.b_panel_stride = 1;
  g.m = 2;
  g.n = 1;
  g.k = 1;
  g.relu = true;
  g.c = c;
  g.c_row_stride = 1;
  kernels.gemm(g);
  CHECK(std::isnan(c[0]));
  CHECK(c[1] == 1.0f);
}

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
  // Every way to group queries, twice around.
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

/// Distance of `actual` from the f64 value, in units of the last place of the f32 nearest to it.
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
  // The whole range of exp, results below FLT_MIN included.
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

void TestSoftmaxCausal(const KernelTable& kernels) {
  Random random(18);
  for (std::size_t trial = 0; trial < 200; ++trial) {
    const std::size_t rows = random.Below(27);
    const std::size_t first = random.Below(70);
    const std::size_t n = first + rows;
    const std::size_t stride = n + random.Below(3);
    Unaligned a(random.Floats(rows == 0 ? 0 : (rows - 1) * stride + n));
    // What is hidden is larger than all that is seen: a maximum that looked ahead would turn whole rows to 0.
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

void TestLayerNorm(const KernelTable& kernels) {
  Random random(17);
  for (const std::size_t n : Sizes()) {
    if (n == 0) continue;
    const std::size_t rows = 1 + random.Below(5);
    const std::size_t stride = n + random.Below(3);
    Unaligned a(random.Floats(rows * stride));
    // The second row is far from zero, the third constant: a mean taken off too late would show in the one, epsilon in
    // the other.
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
        // Differences of near numbers, magnified by `inverse`, which epsilon keeps below 32.
        CHECK_NEAR(da.data()[r * n + i], inverse * (g - sum - unit * product), 1e-6 * inverse * 4);
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      CHECK_NEAR(dscale.data()[i], expected_scale[i], 1e-5);
      CHECK_NEAR(doffset.data()[i], expected_offset[i], 2e-6);
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
    // A place that wraps around 32 bits inside the run.
    const std::uint32_t first = 0u - static_cast<std::uint32_t>(n / 2);
    kernels.dropout(seed, first, 0x40000000u, 1.25f, a.data(), n, out.data());
    ScalarKernels().dropout(seed, first, 0x40000000u, 1.25f, a.data(), n, reference.data());
    CHECK(out.intact());
    for (std::size_t i = 0; i < n; ++i) CHECK(out.data()[i] == reference.data()[i]);
    kernels.dropout(seed, first, 0x40000000u, 1.25f, a.data(), n, a.data());
    for (std::size_t i = 0; i < n; ++i) CHECK(a.data()[i] == out.data()[i]);
  }
  // Shares of dropped units, alone and at neighbouring places and seeds: independent draws differ by 5 deviations at
  // most.
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

void TestTransposeAxpyAdam(const KernelTable& kernels) {
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

void TestTableIsComplete(const KernelTable& kernels) {
  std::uintptr_t words[sizeof(KernelTable) / sizeof(std::uintptr_t)];
  std::memcpy(words, &kernels, sizeof(words));
  for (const std::uintptr_t word : words) CHECK(word != 0);
}

// ---- bf16 ----

float FromBits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float FromBf16(std::uint16_t x) { return FromBits(std::uint32_t{x} << 16); }

/// The nearer of the two neighbours in f64, the even one of two equally near; what lies behind FLT_MAX counts as 2^128.
std::uint16_t NearestBf16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const auto down = static_cast<std::uint16_t>(bits >> 16);
  if (std::isinf(x) || (bits & 0xffff) == 0) return down;
  const auto up = static_cast<std::uint16_t>(down + 1);
  const double magnitude = std::fabs(static_cast<double>(x));
  const double below = std::fabs(static_cast<double>(FromBf16(down)));
  const double above =
      (up & 0x7fff) == 0x7f80 ? 0x1p128 : std::fabs(static_cast<double>(FromBf16(up)));
  const double to_below = magnitude - below;
  const double to_above = above - magnitude;
  if (to_below == to_above) return down % 2 == 0 ? down : up;
  return to_below < to_above ? down : up;
}

void TestToBf16(const KernelTable& kernels) {
  // Every upper half with lower halves around the tie: zeros, denormals, both infinities, every kind of NaN.
  const std::uint32_t lower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
  std::vector<float> values;
  for (std::uint32_t upper = 0; upper < 0x10000; ++upper) {
    for (const std::uint32_t rest : lower) values.push_back(FromBits(upper << 16 | rest));
  }
  std::vector<std::uint16_t> rounded(values.size());
  kernels.to_bf16(values.data(), values.size(), rounded.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float back = FromBf16(rounded[i]);
    if (std::isnan(values[i])) {
      CHECK(std::isnan(back) && std::signbit(back) == std::signbit(values[i]));
    } else {
      CHECK(rounded[i] == NearestBf16(values[i]));
    }
  }
  Random random(9);
  for (const std::size_t n : Sizes()) {
    Unaligned a(random.Floats(n));
    std::vector<std::uint16_t> out(n + 2, 7);
    kernels.to_bf16(a.data(), n, out.data() + 1);
    CHECK(out.front() == 7 && out.back() == 7);
    for (std::size_t i = 0; i < n; ++i) CHECK(out[i + 1] == NearestBf16(a.data()[i]));
  }
}

/// After each call that may have used tiles.
void CheckTilesReleased() {
#if defined(TANDEM_EMULATE)
  CHECK(!emulation::TilesConfigured());
#endif
}

/// From a 64-byte boundary on and not a byte longer, so that the address sanitizer sees what is read past the end.
template <class T>
struct Aligned {
  explicit Aligned(std::size_t n)
      : memory(static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64)))) {}
  ~Aligned() { ::operator delete(memory, std::align_val_t(64)); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  T* const memory;
};

/// One product with guards around c and between its rows. With small integers every order of sums is exact.
void CheckGemmBf16(const KernelTable& kernels, Random& random, std::size_t m, std::size_t n,
                   std::size_t k, bool integers, bool poison) {
  const auto operand = [&random, integers](std::size_t count) {
    std::vector<float> values = random.Floats(count);
    for (float& value : values) {
      value = integers ? std::nearbyintf(value * 8.0f) : FromBf16(NearestBf16(value));
    }
    return values;
  };
  const std::size_t a_stride = k + random.Below(3);
  const std::size_t c_stride = n + random.Below(3);
  const bool accumulate = random.Below(2) == 0;
  const bool with_bias = random.Below(2) == 0;
  const bool relu = random.Below(2) == 0;
  std::vector<float> a = operand(m * k);
  std::vector<float> b = operand(k * n);
  Unaligned bias(operand(n));
  if (poison) a[0] = kNan;
  if (poison) b[k * n - 1] = kInf;
  std::vector<std::uint16_t> a_codes((m - 1) * a_stride + k);
  for (std::size_t i = 0; i < m; ++i) {
    kernels.to_bf16(a.data() + i * k, k, a_codes.data() + i * a_stride);
  }
  const Aligned<std::uint16_t> panels(PackedBf16Size(kernels, k, n));
  PackBf16Panels(kernels, b.data(), n, false, k, n, panels.memory);
  Unaligned c((m - 1) * c_stride + n);
  std::vector<float> before = operand(m * n);
  for (std::size_t i = 0; i < m; ++i) {
    std::copy_n(before.data() + i * n, n, c.data() + i * c_stride);
  }
  Bf16GemmBlock g = {};
  g.a = a_codes.data();
  g.a_row_stride = static_cast<ptrdiff_t>(a_stride);
  g.b = panels.memory;
  g.m = m;
  g.n = n;
  g.k = k;
  g.bias = with_bias ? bias.data() : nullptr;
  g.accumulate = accumulate;
  g.relu = relu;
  g.c = c.data();
  g.c_row_stride = static_cast<ptrdiff_t>(c_stride);
  kernels.gemm_bf16(g);
  CheckTilesReleased();
  CHECK(c.intact());
  // A row alone gives the same bits.
  const std::size_t row = random.Below(m);
  std::vector<float> alone(before.begin() + static_cast<ptrdiff_t>(row * n),
                           before.begin() + static_cast<ptrdiff_t>((row + 1) * n));
  g.a += static_cast<ptrdiff_t>(row) * g.a_row_stride;
  g.m = 1;
  g.c = alone.data();
  kernels.gemm_bf16(g);
  CHECK(std::memcmp(alone.data(), c.data() + row * c_stride, n * sizeof(float)) == 0);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = n; j < c_stride && i + 1 < m; ++j) {
      CHECK(c.data()[i * c_stride + j] == kGuard);
    }
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      double magnitude = 0;
      const auto add = [&sum, &magnitude](double term) {
        sum += term;
        magnitude += std::fabs(term);
      };
      for (std::size_t p = 0; p < k; ++p) {
        add(static_cast<double>(a[i * k + p]) * static_cast<double>(b[p * n + j]));
      }
      if (accumulate) add(static_cast<double>(before[i * n + j]));
      if (with_bias) add(static_cast<double>(bias.data()[j]));
      if (relu && sum < 0) sum = 0;
      // k + 2 additions, each within half an ulp of a partial sum that is at most `magnitude`.
      const double budget = integers ? 0.0 : static_cast<double>(k + 2) * 6e-8 * magnitude;
      CHECK_NEAR(c.data()[i * c_stride + j], sum, budget);
    }
  }
}

void TestGemmBf16(const KernelTable& kernels) {
  Random random(10);
  const std::size_t tile = kernels.column_tile;
  for (const std::size_t m : {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 15, 16, 17, 25, 31, 32, 33, 50}) {
    for (const std::size_t n :
         {std::size_t{1}, std::size_t{3}, tile / 2 - 1, tile / 2, tile / 2 + 1, tile - 1, tile,
          tile + 1, 2 * tile, 2 * tile + 1, 4 * tile, 4 * tile + 3, 5 * tile - 1}) {
      for (const std::size_t k : {2, 6, 30, 32, 34, 64, 100}) {
        CheckGemmBf16(kernels, random, m, n, k, random.Below(2) == 0, false);
      }
    }
    CheckGemmBf16(kernels, random, m, tile + 1, 36, true, true);
  }
}

// ---- codes ----

void CheckScanCodes(const KernelTable& kernels, Random& random, std::size_t queries,
                    std::size_t depth, std::size_t blocks, bool extremes) {
  const std::size_t items = blocks * kCodeBlock;
  const std::size_t stride = items + random.Below(3);
  std::vector<std::int8_t> x(queries * depth);
  std::vector<std::uint8_t> codes(items * depth);  // [items, depth]
  const int sign = random.Below(2) == 0 ? 1 : -1;
  for (std::int8_t& value : x) {
    const int drawn = static_cast<int>(random.Below(2 * kMaxQueryCode + 1)) - kMaxQueryCode;
    value = static_cast<std::int8_t>(extremes ? sign * kMaxQueryCode : drawn);
  }
  for (std::uint8_t& code : codes) {
    code = static_cast<std::uint8_t>(extremes ? 255 : random.Below(256));
  }
  const Aligned<std::uint8_t> packed(items * depth);
  for (std::size_t i = 0; i < items; ++i) {
    for (std::size_t d = 0; d < depth; ++d) {
      const std::size_t line = i / kCodeBlock * (depth / kCodeGroup) + d / kCodeGroup;
      packed.memory[(line * kCodeBlock + i % kCodeBlock) * kCodeGroup + d % kCodeGroup] =
          codes[i * depth + d];
    }
  }
  constexpr std::int32_t kUntouched = 123456789;
  std::vector<std::int32_t> sums(queries * stride + 1, kUntouched);
  kernels.scan_codes(x.data(), queries, depth, packed.memory, blocks, sums.data(), stride);
  CheckTilesReleased();
  for (std::size_t q = 0; q < queries; ++q) {
    for (std::size_t i = 0; i < stride; ++i) {
      std::int32_t expected = i < items ? 0 : kUntouched;
      for (std::size_t d = 0; d < depth && i < items; ++d) {
        expected += std::int32_t{x[q * depth + d]} * std::int32_t{codes[i * depth + d]};
      }
      CHECK(sums[q * stride + i] == expected);
    }
  }
  CHECK(sums.back() == kUntouched);
}

void TestScanCodes(const KernelTable& kernels) {
  Random random(11);
  for (std::size_t depth = 4; depth <= 260; depth += 4) {
    const std::size_t queries = 1 + random.Below(20);
    CheckScanCodes(kernels, random, queries, depth, 1 + random.Below(6), false);
    CheckScanCodes(kernels, random, 1, depth, 1 + random.Below(9), false);
  }
  for (std::size_t queries = 1; queries <= 20; ++queries) {
    for (const std::size_t blocks : {0, 1, 2, 3, 5}) {
      CheckScanCodes(kernels, random, queries, 64, blocks, false);
      CheckScanCodes(kernels, random, queries, 64, blocks, true);
    }
  }
  for (const std::size_t queries : {31, 32, 33, 48, 63, 64, 65, 130}) {
    CheckScanCodes(kernels, random, queries, 68, 3, false);
  }
  CheckScanCodes(kernels, random, 5, 8192, 3, true);
}

void TestSelectAboveInt(const KernelTable& kernels) {
  Random random(12);
  constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();
  for (const std::size_t n : Sizes()) {
    std::vector<std::int32_t> sums(n);
    for (std::int32_t& sum : sums) sum = static_cast<std::int32_t>(random.Below(7)) - 3;
    if (n > 4) sums[n - 1] = kHighest;
    if (n > 4) sums[n - 2] = kLowest;
    for (const std::int32_t threshold : {kLowest, -1, 0, 3, kHighest - 1, kHighest}) {
      std::vector<std::uint32_t> expected;
      for (std::size_t i = 0; i < n; ++i) {
        if (sums[i] > threshold) expected.push_back(static_cast<std::uint32_t>(i));
      }
      std::vector<std::uint32_t> out(n);
      out.resize(kernels.select_above_int(sums.data(), n, threshold, out.data()));
      CHECK(out == expected);
    }
  }
}

/// What extensions replace, so each is run with and without them.
void TestQuantised(const KernelTable& kernels) {
  TestToBf16(kernels);
  TestGemmBf16(kernels);
  TestScanCodes(kernels);
  TestSelectAboveInt(kernels);
}

void TestWithoutExtensions(const KernelTable& kernels) {
  const std::string isa = kernels.isa;
  Context() = isa + " without extensions";
#if defined(__x86_64__)
  if (isa == "avx512") TestQuantised(Avx512Kernels());
#elif defined(__aarch64__)
  if (isa == "neon") TestQuantised(NeonKernels());
#endif
  Context() = isa;
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestTableIsComplete(kernels);
    TestGemm(kernels);
    TestGemmPropagatesNan(kernels);
    TestDot(kernels);
    TestSelectAboveAndFinite(kernels);
    TestUnary(kernels);
    TestBinary(kernels);
    TestReductions(kernels);
    TestSoftmax(kernels);
    TestSoftmaxCausal(kernels);
    TestLayerNorm(kernels);
    TestLayerNormBackward(kernels);
    TestDropout(kernels);
    TestTransposeAxpyAdam(kernels);
    TestBag(kernels);
    TestQuantised(kernels);
    TestWithoutExtensions(kernels);
  });
  return Finish("kernels");
}
