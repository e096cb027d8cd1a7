// The scan against brute force: filters of every density, ties, counts, and refused vectors.

#include "core/indexes/exact_index.h"

#include <algorithm>
#include <limits>

#include "test/check.h"
#include "test/indexes/search_results.h"

namespace tandem::test {
namespace {

struct Hit {
  float score;
  std::uint32_t row;
};

bool Better(const Hit& a, const Hit& b) {
  return a.score > b.score || (a.score == b.score && a.row < b.row);
}

std::vector<std::uint32_t> RandomBits(Random& random, std::size_t size, std::size_t one_in) {
  // Bits past `size` are set on purpose: the index must ignore them.
  std::vector<std::uint32_t> words((size + 31) / 32, 0);
  for (std::size_t i = 0; i < words.size() * 32; ++i) {
    if (i >= size || random.Below(one_in) == 0) words[i / 32] |= 1u << (i % 32);
  }
  return words;
}

void TestAgainstBruteForce(const KernelTable& kernels) {
  Random random(20);
  for (int round = 0; round < 60; ++round) {
    const std::size_t size = random.Below(round % 3 == 0 ? 40 : 900);
    const std::size_t dimensions = 1 + random.Below(70);
    const std::size_t count = 1 + random.Below(20);
    const std::size_t k = 1 + random.Below(50);
    std::vector<float> vectors = random.Floats(size * dimensions);
    // Small whole numbers make ties. Every coordinate is above 0, so norms are, too.
    if (round % 2 == 0) {
      for (float& value : vectors) value = static_cast<float>(1 + random.Below(2));
    }
    std::vector<float> queries = random.Floats(count * dimensions);
    if (round % 2 == 0) {
      for (float& value : queries) value = static_cast<float>(1 + random.Below(2));
    }
    const std::size_t one_in[] = {1, 2, 30, 400};
    const std::vector<std::uint32_t> bits = RandomBits(random, size, one_in[round % 4]);
    const bool filtered = round % 5 != 0;
    const BitsetView allow(filtered ? bits.data() : nullptr, size);
    ExactIndex index(kernels);
    CHECK_OK(index.Reset(vectors.data(), size, dimensions));
    Results results(count, k);
    CHECK_OK(index.Search(queries.data(), count, k, allow, results.output()));
    // Codes and lists of rows are other ways to the same results.
    Results coded(count, k), among(count, k);
    ExactIndex codes(kernels);
    CHECK_OK(codes.Reset(vectors.data(), size, dimensions));
    CHECK_OK(codes.AddCodes());
    CHECK_OK(codes.Search(queries.data(), count, k, allow, coded.output()));
    CHECK(coded.rows == results.rows && coded.scores == results.scores);
    CHECK(coded.counts == results.counts);
    std::vector<std::int32_t> rows;
    for (std::size_t i = size; i-- > 0;) {
      if (allow.Test(i)) rows.push_back(static_cast<std::int32_t>(i));
    }
    CHECK_OK(index.SearchRows(queries.data(), count, k, rows.data(), rows.size(), among.output()));
    CHECK(among.rows == results.rows && among.scores == results.scores);
    CHECK(among.counts == results.counts);
    for (std::size_t q = 0; q < count; ++q) {
      std::vector<Hit> expected;
      for (std::size_t i = 0; i < size; ++i) {
        if (filtered && ((bits[i / 32] >> (i % 32)) & 1u) == 0) continue;
        expected.push_back({kernels.dot(queries.data() + q * dimensions,
                                        vectors.data() + i * dimensions, dimensions),
                            static_cast<std::uint32_t>(i)});
      }
      std::sort(expected.begin(), expected.end(), Better);
      const std::size_t hits = std::min(k, expected.size());
      CHECK(static_cast<std::size_t>(results.counts[q]) == hits);
      for (std::size_t i = 0; i < k; ++i) {
        const std::int32_t row = results.rows[q * k + i];
        const float score = results.scores[q * k + i];
        if (i < hits) {
          CHECK(row == static_cast<std::int32_t>(expected[i].row));
          CHECK(score == expected[i].score);
        } else {
          CHECK(row == -1);
          CHECK(score == -std::numeric_limits<float>::infinity());
        }
      }
    }
  }
}

void TestParallelGivesTheSame(const KernelTable& kernels) {
  Random random(21);
  const std::size_t size = 9000, dimensions = 64, count = 33, k = 20;
  const std::vector<float> vectors = random.Floats(size * dimensions);
  const std::vector<float> queries = random.Floats(count * dimensions);
  ExactIndex index(kernels);
  CHECK_OK(index.Reset(vectors.data(), size, dimensions));
  Results together(count, k);
  CHECK_OK(index.Search(queries.data(), count, k, BitsetView(nullptr, size), together.output()));
  for (std::size_t q = 0; q < count; ++q) {
    Results alone(1, k);
    CHECK_OK(index.Search(queries.data() + q * dimensions, 1, k, BitsetView(nullptr, size),
                          alone.output()));
    for (std::size_t i = 0; i < k; ++i) CHECK(alone.rows[i] == together.rows[q * k + i]);
  }
}

void TestRefusals(const KernelTable& kernels) {
  Random random(22);
  std::vector<float> vectors = random.Floats(10 * 5);
  ExactIndex index(kernels);
  CHECK_OK(index.Reset(vectors.data(), 10, 5));
  const float nan = std::nanf("");
  std::vector<float> query = random.Floats(5);
  Results results(1, 3);
  query[2] = nan;
  CHECK(index.Search(query.data(), 1, 3, BitsetView(nullptr, 10), results.output()).code() ==
        StatusCode::kNonFinite);
  query.assign(5, 0.0f);
  CHECK(index.Search(query.data(), 1, 3, BitsetView(nullptr, 10), results.output()).code() ==
        StatusCode::kNonFinite);
  query[0] = 1.0f;
  const std::int32_t rows[2] = {0, 10};
  float scores[2];
  CHECK(index.Score(query.data(), rows, 2, scores).code() == StatusCode::kOutOfRange);
  CHECK_OK(index.Score(query.data(), rows, 1, scores));
  CHECK(scores[0] == vectors[0]);
  for (const float bad : {nan, std::numeric_limits<float>::infinity()}) {
    std::vector<float> broken = vectors;
    broken[37] = bad;
    const Status status = index.Reset(broken.data(), 10, 5);
    CHECK(status.code() == StatusCode::kNonFinite);
    CHECK(status.message().find("row 7") != std::string::npos);
  }
  CHECK(index.SearchRows(query.data(), 1, 3, rows, 2, results.output()).code() ==
        StatusCode::kOutOfRange);
  // Vectors whose squares underflow or overflow f32 are valid.
  std::vector<float> extreme = {1e-30f, 0, 0, 0, 0, 1e30f, 0, 0, 0, 0};
  CHECK_OK(index.Reset(extreme.data(), 2, 5));
  Results plain(2, 2), coded(2, 2);
  CHECK_OK(index.Search(extreme.data(), 2, 2, BitsetView(nullptr, 2), plain.output()));
  CHECK_OK(index.AddCodes());
  CHECK_OK(index.Search(extreme.data(), 2, 2, BitsetView(nullptr, 2), coded.output()));
  CHECK(plain.rows == coded.rows && plain.scores == coded.scores);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestAgainstBruteForce(kernels);
    TestParallelGivesTheSame(kernels);
    TestRefusals(kernels);
  });
  return Finish("exact_index");
}
