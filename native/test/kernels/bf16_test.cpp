// Rounding to bf16, and bf16 products against f64 references, with and without the extensions of a
// table.

#include <algorithm>
#include <cstring>
#include <new>

#include "core/runtime/gemm.h"
#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

float FromBits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float FromBf16(std::uint16_t x) { return FromBits(std::uint32_t{x} << 16); }

/// The nearer of the two neighbours in f64, or the even one when both are equally near. Anything
/// beyond FLT_MAX counts as 2^128.
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
  // Every upper half, with lower halves around the tie: zeros, denormals, both infinities, and
  // every kind of NaN.
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

/// One product with guards around c and between its rows. With small integers, every order of sums
/// is exact.
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

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsaAndBase([](const tandem::KernelTable& kernels) {
    TestToBf16(kernels);
    TestGemmBf16(kernels);
  });
  return Finish("bf16");
}
