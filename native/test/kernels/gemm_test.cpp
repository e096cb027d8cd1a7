// Products of f32 matrices against an f64 reference: sizes around the tiles, unaligned operands,
// NaN.

#include "core/runtime/gemm.h"

#include <algorithm>

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

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

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestGemm(kernels);
    TestGemmPropagatesNan(kernels);
  });
  return Finish("gemm");
}
