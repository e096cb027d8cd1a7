// Tensor operations against f64 references, over shapes that reach every path: packed, unpacked,
// shared, batched.

#include "core/training/tensor_ops.h"

#include <algorithm>

#include "test/check.h"

namespace tandem::test {
namespace {

void CheckMatmul(const KernelTable& kernels, Random& random, std::size_t batch, std::size_t m,
                 std::size_t n, std::size_t k, bool ta, bool tb, bool shared_b) {
  const std::vector<float> a = random.Floats(batch * m * k);
  const std::vector<float> b = random.Floats((shared_b ? 1 : batch) * k * n);
  const std::vector<float> bias = random.Floats(n);
  const bool with_bias = random.Below(2) == 0;
  const bool relu = random.Below(2) == 0;
  std::vector<float> out(batch * m * n + 1, 9.0f);
  MatmulArguments x = {};
  x.a = a.data();
  x.b = b.data();
  x.out = out.data();
  x.batch = batch;
  x.m = m;
  x.n = n;
  x.k = k;
  x.transpose_a = ta;
  x.transpose_b = tb;
  x.a_batch_stride = m * k;
  x.b_batch_stride = shared_b ? 0 : k * n;
  x.bias = with_bias ? bias.data() : nullptr;
  x.relu = relu;
  CHECK_OK(Matmul(kernels, x));
  CHECK(out.back() == 9.0f);
  // Only a sample of the cells of large products: the reference is slow, and a wrong block is wrong
  // in most of its cells.
  const std::size_t cells = batch * m * n;
  const std::size_t samples = cells * k > 4000000 ? 2000 : cells;
  for (std::size_t s = 0; s < samples; ++s) {
    const std::size_t cell = samples == cells ? s : random.Below(cells);
    const std::size_t i = cell / (m * n);
    const std::size_t row = cell / n % m;
    const std::size_t column = cell % n;
    double sum = 0;
    for (std::size_t p = 0; p < k; ++p) {
      const float u = a[i * m * k + (ta ? p * m + row : row * k + p)];
      const float v = b[(shared_b ? 0 : i * k * n) + (tb ? column * k + p : p * n + column)];
      sum += static_cast<double>(u) * static_cast<double>(v);
    }
    if (with_bias) sum += static_cast<double>(bias[column]);
    if (relu) sum = std::max(sum, 0.0);
    CHECK_NEAR(out[cell], sum, 2e-6 * (1.0 + std::sqrt(static_cast<double>(k)) * 4));
  }
}

void TestMatmul(const KernelTable& kernels) {
  Random random(40);
  struct Case {
    std::size_t batch, m, n, k;
  };
  const Case cases[] = {{1, 1, 1, 1},       {1, 5, 7, 3},      {1, 33, 65, 17},
                        {3, 16, 16, 16},    {1, 1, 300, 70},   {1, 97, 130, 270},
                        {1, 200, 37, 513},  {128, 32, 32, 32}, {5, 100, 90, 32},
                        {2, 130, 1100, 60}, {1, 64, 96, 2000}, {7, 1, 40, 600},
                        {1, 300, 40, 1500}, {1, 20, 384, 1100}};
  for (const Case& c : cases) {
    for (int transposes = 0; transposes < 4; ++transposes) {
      for (const bool shared : {false, true}) {
        CheckMatmul(kernels, random, c.batch, c.m, c.n, c.k, (transposes & 1) != 0,
                    (transposes & 2) != 0, shared);
      }
    }
  }
  for (int i = 0; i < 60; ++i) {
    CheckMatmul(kernels, random, 1 + random.Below(4), 1 + random.Below(40), 1 + random.Below(70),
                1 + random.Below(50), random.Below(2) == 0, random.Below(2) == 0,
                random.Below(2) == 0);
  }
  const float bias[2] = {-1.0f, 2.0f};
  float out[4];
  MatmulArguments x = {};
  x.out = out;
  x.batch = 1;
  x.m = 2;
  x.n = 2;
  x.bias = bias;
  x.relu = true;
  CHECK_OK(Matmul(kernels, x));
  CHECK(out[0] == 0.0f && out[3] == 2.0f);
}

void TestBroadcast(const KernelTable& kernels) {
  Random random(41);
  for (int round = 0; round < 400; ++round) {
    BroadcastShape shape;
    shape.rank = random.Below(kMaxRank + 1);
    std::size_t total = 1;
    for (std::size_t i = 0; i < shape.rank; ++i) {
      shape.sizes[i] = 1 + random.Below(round % 50 == 0 ? 9 : 5);
      total *= shape.sizes[i];
    }
    std::size_t a_size = 1, b_size = 1;
    for (std::size_t i = shape.rank; i-- > 0;) {
      if (random.Below(3) != 0) {
        shape.a_strides[i] = a_size;
        a_size *= shape.sizes[i];
      }
      if (random.Below(3) != 0) {
        shape.b_strides[i] = b_size;
        b_size *= shape.sizes[i];
      }
    }
    const std::vector<float> a = random.Floats(a_size);
    const std::vector<float> b = random.Floats(b_size);
    std::vector<float> out(total + 1, 9.0f);
    BroadcastBinary(kernels, BinaryOp::kSub, a.data(), b.data(), shape, out.data());
    CHECK(out.back() == 9.0f);
    for (std::size_t cell = 0; cell < total; ++cell) {
      std::size_t rest = cell, from_a = 0, from_b = 0;
      for (std::size_t i = shape.rank; i-- > 0;) {
        from_a += rest % shape.sizes[i] * shape.a_strides[i];
        from_b += rest % shape.sizes[i] * shape.b_strides[i];
        rest /= shape.sizes[i];
      }
      CHECK(out[cell] == a[from_a] - b[from_b]);
    }
  }
  // Large enough for the pool: a row, and a column, combined with each row or column.
  const std::size_t rows = 3000, columns = 50;
  const std::vector<float> a = random.Floats(rows * columns);
  const std::vector<float> row = random.Floats(columns);
  const std::vector<float> column = random.Floats(rows);
  std::vector<float> out(rows * columns);
  BroadcastShape shape;
  shape.rank = 2;
  shape.sizes = {rows, columns};
  shape.a_strides = {columns, 1};
  shape.b_strides = {0, 1};
  BroadcastBinary(kernels, BinaryOp::kAdd, a.data(), row.data(), shape, out.data());
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == a[i] + row[i % columns]);
  shape.b_strides = {1, 0};
  BroadcastBinary(kernels, BinaryOp::kMul, a.data(), column.data(), shape, out.data());
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == a[i] * column[i / columns]);
}

void TestReduceAndSoftmax(const KernelTable& kernels) {
  Random random(42);
  struct Case {
    std::size_t outer, axis, inner;
  };
  const Case cases[] = {{1, 1, 1},    {3, 5, 1},     {2, 7, 9},     {1, 1000, 65},
                        {40, 60, 70}, {3000, 64, 1}, {1, 20000, 8}, {2, 0, 3}};
  for (const Case& c : cases) {
    const std::vector<float> a = random.Floats(c.outer * c.axis * c.inner);
    std::vector<float> sums(c.outer * c.inner), maxima(c.outer * c.inner);
    Reduce(kernels, ReduceOp::kSum, a.data(), c.outer, c.axis, c.inner, sums.data());
    Reduce(kernels, ReduceOp::kMax, a.data(), c.outer, c.axis, c.inner, maxima.data());
    for (std::size_t o = 0; o < c.outer; ++o) {
      for (std::size_t i = 0; i < c.inner; ++i) {
        double sum = 0;
        float best = -INFINITY;
        for (std::size_t x = 0; x < c.axis; ++x) {
          const float value = a[(o * c.axis + x) * c.inner + i];
          sum += static_cast<double>(value);
          best = std::max(best, value);
        }
        CHECK_NEAR(sums[o * c.inner + i], sum, 1e-6 * static_cast<double>(c.axis + 1));
        CHECK(maxima[o * c.inner + i] == best);
      }
    }
  }
  const std::size_t rows = 900, columns = 101;
  const std::vector<float> a = random.Floats(rows * columns);
  std::vector<float> out(a.size());
  Softmax(kernels, a.data(), rows, columns, out.data());
  for (std::size_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (std::size_t c = 0; c < columns; ++c)
      sum += std::exp(static_cast<double>(a[r * columns + c]));
    for (std::size_t c = 0; c < columns; ++c) {
      const double expected = std::exp(static_cast<double>(a[r * columns + c])) / sum;
      CHECK_NEAR(out[r * columns + c], expected, 1e-6 * expected);
    }
  }
}

void TestTranspose(const KernelTable& kernels) {
  Random random(43);
  for (int round = 0; round < 300; ++round) {
    const std::size_t rank = random.Below(kMaxRank + 1);
    std::size_t sizes[kMaxRank] = {};
    std::size_t permutation[kMaxRank] = {};
    std::size_t total = 1;
    for (std::size_t i = 0; i < rank; ++i) {
      sizes[i] = 1 + random.Below(rank < 4 ? 40 : 6);
      total *= sizes[i];
      permutation[i] = i;
    }
    for (std::size_t i = rank; i-- > 1;)
      std::swap(permutation[i], permutation[random.Below(i + 1)]);
    const std::vector<float> a = random.Floats(total);
    std::vector<float> out(total + 1, 9.0f);
    TransposeTensor(kernels, a.data(), rank, sizes, permutation, out.data());
    CHECK(out.back() == 9.0f);
    for (std::size_t cell = 0; cell < total; ++cell) {
      std::size_t index[kMaxRank] = {};
      std::size_t rest = cell;
      for (std::size_t i = rank; i-- > 0;) {
        index[permutation[i]] = rest % sizes[permutation[i]];
        rest /= sizes[permutation[i]];
      }
      std::size_t from = 0;
      for (std::size_t i = 0; i < rank; ++i) from = from * sizes[i] + index[i];
      CHECK(out[cell] == a[from]);
    }
  }
}

void TestCopyRows() {
  Random random(45);
  for (const std::size_t rows : {std::size_t{1}, std::size_t{9}, std::size_t{2000}}) {
    for (const std::size_t run : {std::size_t{1}, std::size_t{8}, std::size_t{64}}) {
      const std::size_t from_stride = run + 3, to_stride = run + 5;
      const std::vector<float> from = random.Floats(rows * from_stride);
      std::vector<float> to(rows * to_stride, 7.0f);
      std::vector<float> expected = to;
      for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t c = 0; c < run; ++c) {
          expected[i * to_stride + 2 + c] = from[i * from_stride + 1 + c];
        }
      }
      CopyRows(from.data() + 1, from_stride, rows, run, to.data() + 2, to_stride);
      CHECK(to == expected);
    }
  }
}

void TestRowsAndAdam(const KernelTable& kernels) {
  Random random(44);
  for (const std::size_t count : {std::size_t{0}, std::size_t{7}, std::size_t{3000}}) {
    const std::size_t width = 33, rows = 50;
    const std::vector<float> table = random.Floats(rows * width);
    std::vector<std::int32_t> indices(count);
    for (std::int32_t& index : indices) index = static_cast<std::int32_t>(random.Below(rows));
    std::vector<float> out(count * width);
    CHECK_OK(GatherRows(table.data(), rows, indices.data(), count, width, out.data()));
    for (std::size_t i = 0; i < out.size(); ++i) {
      CHECK(out[i] == table[static_cast<std::size_t>(indices[i / width]) * width + i % width]);
    }
    if (count > 3) indices[3] = -1;
    const std::vector<float> source = random.Floats(count * width);
    std::vector<float> sums(rows * width, 7.0f), expected(rows * width, 0.0f);
    CHECK_OK(
        ScatterAddRows(kernels, source.data(), indices.data(), count, width, rows, sums.data()));
    for (std::size_t i = 0; i < count; ++i) {
      if (indices[i] < 0) continue;
      for (std::size_t c = 0; c < width; ++c) {
        expected[static_cast<std::size_t>(indices[i]) * width + c] += source[i * width + c];
      }
    }
    CHECK(sums == expected);
    if (count > 3) {
      CHECK(!GatherRows(table.data(), rows, indices.data(), count, width, out.data()).ok());
      indices[3] = static_cast<std::int32_t>(rows);
      CHECK(!ScatterAddRows(kernels, source.data(), indices.data(), count, width, rows, sums.data())
                 .ok());
    }
  }
  std::vector<float> p(100000, 1.0f), m(p.size(), 0.0f), v(p.size(), 0.0f);
  const std::vector<float> g(p.size(), 0.5f);
  AdamStep step = {0.9f, 0.999f, 10.0f, 1000.0f, 0.1f, 1e-8f};
  AdamUpdate(kernels, step, g.data(), p.size(), p.data(), m.data(), v.data());
  // The first step moves by the learning rate, whatever the size of the gradient.
  for (const float value : p) CHECK_NEAR(value, 0.9, 1e-4);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestMatmul(kernels);
    TestBroadcast(kernels);
    TestReduceAndSoftmax(kernels);
    TestTranspose(kernels);
    TestRowsAndAdam(kernels);
  });
  TestCopyRows();
  return Finish("tensor_ops");
}
