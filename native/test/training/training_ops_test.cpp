// Compares the values of fused training operations with f64 formulas, and their gradients with
// central differences of these formulas. The shapes reach every block edge.

#include "core/training/training_ops.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "core/training/tensor_ops.h"
#include "test/check.h"

namespace tandem::test {
namespace {

using Doubles = std::vector<double>;

Doubles Wide(const std::vector<float>& values) { return {values.begin(), values.end()}; }

double Dot(const double* a, const double* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// Checks `received` against central differences of sum(dy * f(x)) at some elements of x.
void CheckGradient(const std::function<Doubles(const Doubles&)>& f, const std::vector<float>& x,
                   const std::vector<float>& dy, const std::vector<float>& received,
                   Random& random) {
  if (x.empty()) return;
  const Doubles along = Wide(dy);
  Doubles point = Wide(x);
  const double step = 1e-5;
  for (int sample = 0; sample < 12; ++sample) {
    const std::size_t at = random.Below(x.size());
    const double kept = point[at];
    point[at] = kept + step;
    const Doubles above = f(point);
    point[at] = kept - step;
    const Doubles below = f(point);
    point[at] = kept;
    double slope = 0;
    for (std::size_t i = 0; i < along.size(); ++i) slope += along[i] * (above[i] - below[i]);
    slope /= 2 * step;
    CHECK_NEAR(received[at], slope, 2e-4 * (1 + std::fabs(slope)));
  }
}

void TestLayerNorm(const KernelTable& kernels) {
  Random random(60);
  for (const std::pair<std::size_t, std::size_t>& size :
       {std::pair<std::size_t, std::size_t>{1, 1}, {3, 7}, {256, 16}, {1100, 33}}) {
    const std::size_t rows = size.first, n = size.second;
    const std::vector<float> a = random.Floats(rows * n), dy = random.Floats(rows * n);
    const std::vector<float> scale = random.Floats(n), offset = random.Floats(n);
    std::vector<float> out(rows * n), da(rows * n), dscale(n), doffset(n);
    LayerNorm(kernels, a.data(), rows, n, scale.data(), offset.data(), 1e-2f, out.data());
    CHECK_OK(LayerNormBackward(kernels, a.data(), dy.data(), rows, n, scale.data(), 1e-2f,
                               da.data(), dscale.data(), doffset.data()));
    const auto plain = [&](const Doubles& x, const Doubles& s, const Doubles& o) {
      Doubles y(rows * n);
      for (std::size_t r = 0; r < rows; ++r) {
        double mean = 0, variance = 0;
        for (std::size_t i = 0; i < n; ++i) mean += x[r * n + i] / static_cast<double>(n);
        for (std::size_t i = 0; i < n; ++i) {
          variance += std::pow(x[r * n + i] - mean, 2) / static_cast<double>(n);
        }
        for (std::size_t i = 0; i < n; ++i) {
          y[r * n + i] = (x[r * n + i] - mean) / std::sqrt(variance + 1e-2) * s[i] + o[i];
        }
      }
      return y;
    };
    const Doubles expected = plain(Wide(a), Wide(scale), Wide(offset));
    for (std::size_t i = 0; i < out.size(); ++i) CHECK_NEAR(out[i], expected[i], 1e-5);
    CheckGradient([&](const Doubles& x) { return plain(x, Wide(scale), Wide(offset)); }, a, dy, da,
                  random);
    CheckGradient([&](const Doubles& x) { return plain(Wide(a), x, Wide(offset)); }, scale, dy,
                  dscale, random);
    CheckGradient([&](const Doubles& x) { return plain(Wide(a), Wide(scale), x); }, offset, dy,
                  doffset, random);
  }
}

void TestAttention(const KernelTable& kernels) {
  Random random(61);
  struct Case {
    std::vector<std::int32_t> offsets;
    std::size_t heads, width;
  };
  const Case cases[] = {{{0}, 1, 4},
                        {{0, 1}, 1, 1},
                        {{0, 3, 3, 5}, 2, 4},
                        {{0, 24, 49, 72, 73}, 3, 15},
                        {{0, 49, 119}, 2, 64}};
  for (const Case& c : cases) {
    const std::size_t batch = c.offsets.size() - 1, d = c.width, head_width = d / c.heads;
    const std::size_t size = static_cast<std::size_t>(c.offsets.back()) * d;
    const std::vector<float> q = random.Floats(size), k = random.Floats(size),
                             v = random.Floats(size), dy = random.Floats(size);
    const auto plain = [&](const Doubles& queries, const Doubles& keys, const Doubles& values) {
      Doubles out(size, 0.0);
      for (std::size_t b = 0; b < batch; ++b) {
        const std::size_t first = static_cast<std::size_t>(c.offsets[b]);
        const std::size_t end = static_cast<std::size_t>(c.offsets[b + 1]);
        for (std::size_t row = first; row < end; ++row) {
          for (std::size_t h = 0; h < d; h += head_width) {
            Doubles weights;
            double total = 0;
            for (std::size_t other = first; other <= row; ++other) {
              weights.push_back(
                  std::exp(Dot(&queries[row * d + h], &keys[other * d + h], head_width) /
                           std::sqrt(static_cast<double>(head_width))));
              total += weights.back();
            }
            for (std::size_t i = 0; i < weights.size(); ++i) {
              for (std::size_t x = h; x < h + head_width; ++x) {
                out[row * d + x] += weights[i] / total * values[(first + i) * d + x];
              }
            }
          }
        }
      }
      return out;
    };
    AttentionShape shape = {batch, c.heads, d, c.offsets.data()};
    std::vector<float> out(size, 9.0f), dq(size, 9.0f), dk(size, 9.0f), dv(size, 9.0f);
    CHECK_OK(CausalAttention(kernels, shape, q.data(), k.data(), v.data(), out.data()));
    const Doubles expected = plain(Wide(q), Wide(k), Wide(v));
    for (std::size_t i = 0; i < size; ++i) CHECK_NEAR(out[i], expected[i], 2e-6);
    CHECK_OK(CausalAttentionBackward(kernels, shape, q.data(), k.data(), v.data(), dy.data(),
                                     dq.data(), dk.data(), dv.data()));
    CheckGradient([&](const Doubles& x) { return plain(x, Wide(k), Wide(v)); }, q, dy, dq, random);
    CheckGradient([&](const Doubles& x) { return plain(Wide(q), x, Wide(v)); }, k, dy, dk, random);
    CheckGradient([&](const Doubles& x) { return plain(Wide(q), Wide(k), x); }, v, dy, dv, random);
  }
}

void TestLogSumExp(const KernelTable& kernels) {
  Random random(62);
  struct Case {
    std::size_t queries, candidates, width;
    bool bias;
  };
  // One block, several blocks along each axis, and sizes just past a block.
  const Case cases[] = {{1, 1, 1, false},    {5, 3, 7, true},      {97, 40, 16, true},
                        {20, 513, 9, false}, {200, 1100, 8, true}, {500, 30, 5, false}};
  for (const Case& c : cases) {
    const std::vector<float> q = random.Floats(c.queries * c.width),
                             v = random.Floats(c.candidates * c.width),
                             bias = random.Floats(c.candidates), dy = random.Floats(c.queries);
    std::vector<std::int32_t> rows, columns;
    for (std::size_t e = 0; e < c.queries; ++e) {
      // Never the last candidate, so that every query keeps one; sometimes a pair twice.
      for (std::size_t i = random.Below(3); i > 0 && c.candidates > 1; --i) {
        rows.push_back(static_cast<std::int32_t>(e));
        columns.push_back(static_cast<std::int32_t>(random.Below(c.candidates - 1)));
      }
    }
    std::vector<std::int32_t> boost_rows, boost_columns;
    for (std::size_t e = 0; e < c.queries; ++e) {
      for (std::size_t i = random.Below(4); i > 0; --i) {
        boost_rows.push_back(static_cast<std::int32_t>(e));
        boost_columns.push_back(static_cast<std::int32_t>(random.Below(c.candidates)));
      }
    }
    const std::vector<float> boosts = random.Floats(boost_rows.size());
    const auto plain = [&](const Doubles& queries, const Doubles& candidates,
                           const Doubles& added) {
      Doubles out(c.queries);
      std::size_t pair = 0, boosted = 0;
      for (std::size_t e = 0; e < c.queries; ++e) {
        std::vector<bool> masked(c.candidates);
        for (; pair < rows.size() && rows[pair] == static_cast<std::int32_t>(e); ++pair) {
          masked[static_cast<std::size_t>(columns[pair])] = true;
        }
        Doubles boost(c.candidates);
        for (; boosted < added.size() && boost_rows[boosted] == static_cast<std::int32_t>(e);
             ++boosted) {
          boost[static_cast<std::size_t>(boost_columns[boosted])] += added[boosted];
        }
        double total = 0;
        for (std::size_t j = 0; j < c.candidates; ++j) {
          if (masked[j]) continue;
          total += std::exp(Dot(&queries[e * c.width], &candidates[j * c.width], c.width) +
                            (c.bias ? static_cast<double>(bias[j]) : 0.0) + boost[j]);
        }
        out[e] = std::log(total);
      }
      return out;
    };
    const ScoreShape shape = {c.queries,
                              c.candidates,
                              c.width,
                              c.bias ? bias.data() : nullptr,
                              {rows.data(), columns.data(), rows.size()},
                              {boost_rows.data(), boost_columns.data(), boost_rows.size()},
                              boosts.data()};
    std::vector<float> out(c.queries), dq(q.size(), 9.0f), dv(v.size(), 9.0f),
        db(boosts.size(), 9.0f);
    CHECK_OK(LogSumExpScores(kernels, shape, q.data(), v.data(), out.data()));
    const Doubles expected = plain(Wide(q), Wide(v), Wide(boosts));
    for (std::size_t e = 0; e < c.queries; ++e) CHECK_NEAR(out[e], expected[e], 3e-6);
    CHECK_OK(LogSumExpScoresBackward(kernels, shape, q.data(), v.data(), out.data(), dy.data(),
                                     dq.data(), db.data(), dv.data()));
    const Doubles wide = Wide(boosts);
    CheckGradient([&](const Doubles& x) { return plain(x, Wide(v), wide); }, q, dy, dq, random);
    CheckGradient([&](const Doubles& x) { return plain(Wide(q), x, wide); }, v, dy, dv, random);
    CheckGradient([&](const Doubles& x) { return plain(Wide(q), Wide(v), x); }, boosts, dy, db,
                  random);
    std::vector<float> alone(q.size(), 9.0f);
    CHECK_OK(LogSumExpScoresBackward(kernels, shape, q.data(), v.data(), out.data(), dy.data(),
                                     alone.data(), db.data(), nullptr));
    CHECK(alone == dq);
  }
  // Scores with large differences, and a whole masked block before the first one that counts: no
  // overflow, no NaN.
  const std::size_t candidates = 600;
  const std::vector<float> query = {100.0f};
  std::vector<float> vectors(candidates, 1.0f);
  vectors[599] = 3.0f;
  std::vector<std::int32_t> rows(512, 0), columns(512);
  for (std::size_t i = 0; i < columns.size(); ++i) columns[i] = static_cast<std::int32_t>(i);
  const ScoreShape shape = {1,  candidates, 1, nullptr, {rows.data(), columns.data(), rows.size()},
                            {}, nullptr};
  const float dy = 1.0f;
  float out = 0, dq = 0;
  std::vector<float> dv(candidates);
  CHECK_OK(LogSumExpScores(kernels, shape, query.data(), vectors.data(), &out));
  CHECK_OK(LogSumExpScoresBackward(kernels, shape, query.data(), vectors.data(), &out, &dy, &dq,
                                   nullptr, dv.data()));
  CHECK(out == 300.0f && dq == 3.0f && dv[599] == 100.0f && dv[0] == 0.0f && dv[520] == 0.0f);
}

void TestReluBackward() {
  // More than one task, with a rest. NaN lets nothing through, as zero does.
  std::vector<float> y(40001), dy(y.size()), out(y.size(), 7.0f);
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = i % 3 == 0 ? 0.0f : static_cast<float>(i % 3) - 1.5f;
    dy[i] = static_cast<float>(i) + 1;
  }
  y[4] = std::nanf("");
  ReluBackward(y.data(), dy.data(), y.size(), out.data());
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(out[i] == (y[i] > 0 ? dy[i] : 0.0f));
}

void TestDropout(const KernelTable& kernels) {
  Random random(63);
  const std::vector<float> a = random.Floats(40000);
  std::vector<float> out(a.size()), whole(a.size());
  Dropout(kernels, 5, 0x80000000u, 2.0f, a.data(), a.size(), out.data());
  kernels.dropout(5, 0, 0x80000000u, 2.0f, a.data(), a.size(), whole.data());
  CHECK(out == whole);
}

void TestAdamRows(const KernelTable& kernels) {
  Random random(64);
  const std::size_t table_rows = 3000, width = 33, count = 2000;
  std::vector<std::int32_t> rows(table_rows);
  for (std::size_t i = 0; i < table_rows; ++i) rows[i] = static_cast<std::int32_t>(i);
  for (std::size_t i = table_rows; i-- > 1;) std::swap(rows[i], rows[random.Below(i + 1)]);
  const std::vector<float> start = random.Floats(table_rows * width);
  const std::vector<float> gradient = random.Floats(count * width);
  std::vector<float> p = start, m = random.Floats(start.size()), v(start.size(), 0.5f);
  const std::vector<float> start_m = m;
  const AdamStep step = {0.9f, 0.999f, 10.0f, 1000.0f, 0.1f, 1e-8f};
  CHECK_OK(AdamUpdateRows(kernels, step, gradient.data(), rows.data(), count, width, table_rows,
                          p.data(), m.data(), v.data()));
  for (std::size_t i = 0; i < table_rows; ++i) {
    const std::size_t at = static_cast<std::size_t>(rows[i]) * width;
    std::vector<float> expected(start.begin() + static_cast<long>(at),
                                start.begin() + static_cast<long>(at + width));
    std::vector<float> expected_m(start_m.begin() + static_cast<long>(at),
                                  start_m.begin() + static_cast<long>(at + width));
    std::vector<float> expected_v(width, 0.5f);
    if (i < count) {
      kernels.adam(step, gradient.data() + i * width, width, expected.data(), expected_m.data(),
                   expected_v.data());
    }
    for (std::size_t c = 0; c < width; ++c) {
      CHECK(p[at + c] == expected[c] && m[at + c] == expected_m[c] && v[at + c] == expected_v[c]);
    }
  }
  const std::vector<float> before = p;
  for (const std::int32_t bad : {-1, static_cast<std::int32_t>(table_rows), rows[0]}) {
    std::vector<std::int32_t> wrong(rows.begin(), rows.begin() + 3);
    wrong[2] = bad;
    CHECK(!AdamUpdateRows(kernels, step, gradient.data(), wrong.data(), 3, width, table_rows,
                          p.data(), m.data(), v.data())
               .ok());
  }
  CHECK(p == before);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestLayerNorm(kernels);
    TestAttention(kernels);
    TestLogSumExp(kernels);
    TestDropout(kernels);
    TestReluBackward();
    TestAdamRows(kernels);
  });
  return Finish("training_ops");
}
