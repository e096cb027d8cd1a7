// The cluster-pruned index against the exact one: recall after calibration, k hits under any
// filter, its file, and what it refuses. Also k-means against brute force.

#include "core/indexes/cluster_index.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/indexes/k_means.h"
#include "test/check.h"
#include "test/indexes/search_results.h"

namespace tandem::test {
namespace {

/// Unit rows around `centres` random ones, so that partitions mean something.
std::vector<float> ClusteredRows(Random& random, std::size_t count, std::size_t dimensions,
                                 std::size_t centres) {
  const std::vector<float> centre = random.Floats(centres * dimensions);
  std::vector<float> rows(count * dimensions);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t c = random.Below(centres);
    double squares = 0.0;
    for (std::size_t d = 0; d < dimensions; ++d) {
      float& x = rows[i * dimensions + d];
      x = centre[c * dimensions + d] + 0.4f * random.Unit();
      squares += static_cast<double>(x) * static_cast<double>(x);
    }
    for (std::size_t d = 0; d < dimensions; ++d) {
      rows[i * dimensions + d] /= static_cast<float>(std::sqrt(squares));
    }
  }
  return rows;
}

std::unique_ptr<ClusterIndex> Built(const KernelTable& kernels, const std::vector<float>& rows,
                                    std::size_t dimensions, std::size_t clusters) {
  std::atomic<std::size_t> done{0};
  std::unique_ptr<ClusterIndex> index;
  CHECK_OK(ClusterIndex::BuildClusters(rows.data(), rows.size() / dimensions, dimensions, clusters,
                                       kernels, &done, &index));
  return index;
}

std::vector<std::uint8_t> Bytes(const ClusterIndex& index) {
  std::vector<std::uint8_t> bytes(index.SerializedSize());
  CHECK_OK(index.Serialize(bytes.data(), bytes.size()));
  return bytes;
}

void TestKMeans(const KernelTable& kernels) {
  Random random(40);
  const std::size_t count = 700, dimensions = 7, clusters = 19;
  const std::vector<float> rows = random.Floats(count * dimensions);
  std::atomic<std::size_t> done{0};
  double before = std::numeric_limits<double>::infinity();
  for (std::size_t iterations = 0; iterations < 6; iterations += 1) {
    KMeansOptions options;
    options.clusters = clusters;
    options.iterations = iterations;
    AlignedBuffer centroids;
    CHECK_OK(KMeans(kernels, rows.data(), count, dimensions, options, &done, &centroids));
    std::vector<std::uint32_t> nearest;
    CHECK_OK(AssignRows(kernels, rows.data(), count, dimensions, centroids.data(), clusters, &done,
                        &nearest));
    double total = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      double least = std::numeric_limits<double>::infinity();
      double own = 0.0;
      for (std::size_t c = 0; c < clusters; ++c) {
        double distance = 0.0;
        for (std::size_t d = 0; d < dimensions; ++d) {
          const double difference = static_cast<double>(rows[i * dimensions + d]) -
                                    static_cast<double>(centroids.data()[c * dimensions + d]);
          distance += difference * difference;
        }
        least = std::min(least, distance);
        if (c == nearest[i]) own = distance;
      }
      CHECK_NEAR(own, least, 1e-5);
      total += own;
    }
    // Lloyd's iterations never increase the distance.
    CHECK(total <= before * (1.0 + 1e-6));
    before = total;
  }
}

void TestRecallAndScores(const KernelTable& kernels) {
  Random random(41);
  struct Shape {
    std::size_t size, dimensions, clusters;
  };
  // One cluster; widths that do not fill a group of components; more than one round of ranking;
  // split clusters.
  for (const Shape shape : {Shape{50, 5, 1}, Shape{3000, 17, 40}, Shape{6000, 32, 900}}) {
    const std::size_t dimensions = shape.dimensions;
    const std::vector<float> rows =
        ClusteredRows(random, shape.size, dimensions, 1 + shape.size / 60);
    const std::unique_ptr<ClusterIndex> index = Built(kernels, rows, dimensions, shape.clusters);
    if (index == nullptr) return;
    const std::size_t count = 80;
    const std::size_t k = std::min<std::size_t>(20, shape.size);
    std::vector<float> queries = ClusteredRows(random, count, dimensions, count);
    for (std::size_t q = 0; q < count; ++q) {
      for (std::size_t d = 0; d < dimensions; ++d) {
        queries[q * dimensions + d] =
            0.3f * queries[q * dimensions + d] + rows[(q * 31 % shape.size) * dimensions + d];
      }
    }
    CHECK_OK(index->Calibrate({queries.data(), count, k, 0.97}));
    CHECK(index->recall() > 0.9);

    ExactIndex exact(kernels);
    CHECK_OK(exact.Reset(rows.data(), shape.size, dimensions));
    Results truth(count, k), found(count, k);
    CHECK_OK(exact.Search(queries.data(), count, k, BitsetView(), truth.output()));
    CHECK_OK(index->Search(queries.data(), count, k, BitsetView(), 1.0, found.output()));
    std::size_t hits = 0;
    for (std::size_t q = 0; q < count; ++q) {
      CHECK(found.counts[q] == static_cast<std::int32_t>(k));
      for (std::size_t i = 0; i < k; ++i) {
        const std::size_t at = q * k + i;
        const float* row = rows.data() + static_cast<std::size_t>(found.rows[at]) * dimensions;
        CHECK(found.scores[at] == kernels.dot(&queries[q * dimensions], row, dimensions));
        CHECK(i == 0 || found.scores[at - 1] >= found.scores[at]);
        hits += std::count(&truth.rows[q * k], &truth.rows[q * k] + k, found.rows[at]) > 0;
      }
    }
    CHECK(static_cast<double>(hits) >= 0.93 * static_cast<double>(count * k));

    // A single query gives the same results as many together.
    Results alone(1, k);
    CHECK_OK(index->Search(queries.data(), 1, k, BitsetView(), 1.0, alone.output()));
    CHECK(std::equal(alone.rows.begin(), alone.rows.end(), found.rows.begin()));
  }
}

/// Clumps of 12 vectors and a k of 10: the best 20, or the best 10 among every other vector, lie in
/// clumps that are further off than the best 10. The target holds for them, too.
void TestDepths(const KernelTable& kernels) {
  Random random(46);
  const std::size_t size = 9600, dimensions = 32, count = 60, k = 10;
  const std::vector<float> rows = ClusteredRows(random, size, dimensions, size / 12);
  const std::unique_ptr<ClusterIndex> index = Built(kernels, rows, dimensions, 960);
  const std::vector<float> queries(rows.begin(), rows.begin() + count * dimensions);
  CHECK_OK(index->Calibrate({queries.data(), count, k, 0.95}));
  ExactIndex exact(kernels);
  CHECK_OK(exact.Reset(rows.data(), size, dimensions));
  std::vector<std::uint32_t> half((size + 31) / 32, 0x55555555u);
  struct Search {
    std::size_t k;
    BitsetView allow;
    double selectivity;
  };
  for (const Search& search :
       {Search{5, BitsetView(nullptr, size), 1.0}, Search{2 * k, BitsetView(nullptr, size), 1.0},
        Search{10 * k, BitsetView(nullptr, size), 1.0},
        Search{k, BitsetView(half.data(), size), 0.5}}) {
    Results truth(count, search.k), found(count, search.k);
    CHECK_OK(exact.Search(queries.data(), count, search.k, search.allow, truth.output()));
    CHECK_OK(index->Search(queries.data(), count, search.k, search.allow, search.selectivity,
                           found.output()));
    std::size_t hits = 0;
    for (std::size_t q = 0; q < count; ++q) {
      const std::int32_t* const expected = &truth.rows[q * search.k];
      for (std::size_t i = 0; i < search.k; ++i) {
        hits += std::count(expected, expected + search.k, found.rows[q * search.k + i]) > 0;
      }
    }
    CHECK(static_cast<double>(hits) >= 0.93 * static_cast<double>(count * search.k));
  }
}

/// Queries alternate between two kinds: near the vectors, and anywhere. Both kinds are calibrated
/// for.
void TestAlternatingQueries(const KernelTable& kernels) {
  Random random(47);
  const std::size_t size = 3000, dimensions = 32, count = 200, k = 50;
  const std::vector<float> rows = ClusteredRows(random, size, dimensions, 40);
  const std::unique_ptr<ClusterIndex> index = Built(kernels, rows, dimensions, 40);
  std::vector<float> queries(rows.begin(), rows.begin() + count * dimensions);
  for (std::size_t q = 1; q < count; q += 2) {
    for (std::size_t d = 0; d < dimensions; ++d) queries[q * dimensions + d] = random.Unit();
  }
  CHECK_OK(index->Calibrate({queries.data(), count, k, 0.95}));
  CHECK(index->recall() > 0.94);
}

/// Build keeps the number of clusters that its own count of work says is cheaper.
void TestBuildTakesTheCheaper(const KernelTable& kernels) {
  Random random(45);
  const std::size_t size = 9000, dimensions = 12, count = 60;
  for (const std::size_t centres : {std::size_t{3}, std::size_t{400}}) {
    const std::vector<float> rows = ClusteredRows(random, size, dimensions, centres);
    const std::vector<float> queries(rows.begin(), rows.begin() + count * dimensions);
    const ClusterTarget target = {queries.data(), count, 10, 0.95};
    std::atomic<std::size_t> done{0};
    std::unique_ptr<ClusterIndex> best;
    CHECK_OK(ClusterIndex::Build(rows.data(), size, dimensions, target, kernels, &done, &best));
    if (best == nullptr) return;
    CHECK(done <= ClusterIndex::BuildWork(size) && 2 * done > ClusterIndex::BuildWork(size));
    CHECK(best->recall() > 0.85);
    for (const std::size_t clusters : {size / 64, size / 64 / 4}) {
      const std::unique_ptr<ClusterIndex> other = Built(kernels, rows, dimensions, clusters);
      CHECK_OK(other->Calibrate(target));
      CHECK(best->cost() <= other->cost());
    }
  }
}

void TestFiltersGiveK(const KernelTable& kernels) {
  Random random(42);
  const std::size_t size = 2500, dimensions = 16, count = 6;
  const std::vector<float> rows = ClusteredRows(random, size, dimensions, 50);
  const std::unique_ptr<ClusterIndex> index = Built(kernels, rows, dimensions, 960);
  const std::vector<float> queries = ClusteredRows(random, count, dimensions, count);
  CHECK_OK(index->Calibrate({queries.data(), count, 10, 0.9}));
  for (const std::size_t one_in : {1u, 2u, 50u, 700u, 100000u}) {
    std::vector<std::uint32_t> bits((size + 31) / 32, 0);
    std::size_t allowed = 0;
    for (std::size_t i = 0; i < size; ++i) {
      if (random.Below(one_in) != 0) continue;
      bits[i / 32] |= 1u << (i % 32);
      ++allowed;
    }
    for (const std::size_t k : {std::size_t{1}, std::size_t{30}, std::size_t{400}, size}) {
      Results found(count, k);
      CHECK_OK(index->Search(queries.data(), count, k, BitsetView(bits.data(), size),
                             1.0 / static_cast<double>(one_in), found.output()));
      const std::size_t wanted = std::min(k, allowed);
      for (std::size_t q = 0; q < count; ++q) {
        CHECK(static_cast<std::size_t>(found.counts[q]) == wanted);
        std::vector<std::int32_t> found_rows(
            found.rows.begin() + static_cast<std::ptrdiff_t>(q * k),
            found.rows.begin() + static_cast<std::ptrdiff_t>(q * k + wanted));
        for (const std::int32_t row : found_rows) {
          const std::size_t s = static_cast<std::size_t>(row);
          CHECK(s < size && ((bits[s / 32] >> (s % 32)) & 1u) != 0);
        }
        std::sort(found_rows.begin(), found_rows.end());
        CHECK(std::adjacent_find(found_rows.begin(), found_rows.end()) == found_rows.end());
        if (wanted < k) CHECK(found.rows[q * k + wanted] == -1);
      }
    }
  }
}

void TestFile(const KernelTable& kernels) {
  Random random(43);
  const std::size_t size = 400, dimensions = 6, k = 5;
  const std::vector<float> rows = ClusteredRows(random, size, dimensions, 20);
  const std::unique_ptr<ClusterIndex> index = Built(kernels, rows, dimensions, 15);
  const std::vector<float> queries = ClusteredRows(random, 10, dimensions, 10);
  CHECK_OK(index->Calibrate({queries.data(), 10, k, 0.95}));
  const std::vector<std::uint8_t> bytes = Bytes(*index);
  CHECK(bytes == Bytes(*index));
  const std::unique_ptr<ClusterIndex> again = Built(kernels, rows, dimensions, 15);
  CHECK_OK(again->Calibrate({queries.data(), 10, k, 0.95}));
  CHECK(bytes == Bytes(*again));

  std::unique_ptr<ClusterIndex> loaded;
  const auto load = [&](const std::vector<std::uint8_t>& from, std::size_t given) {
    loaded.reset();
    return ClusterIndex::Load(from.data(), from.size(), rows.data(), given, dimensions, kernels,
                              &loaded);
  };
  CHECK_OK(load(bytes, size));
  CHECK(loaded->radius_factor(k, 0.5) == index->radius_factor(k, 0.5) &&
        loaded->recall() == index->recall());
  Results expected(10, k), found(10, k);
  CHECK_OK(index->Search(queries.data(), 10, k, BitsetView(), 1.0, expected.output()));
  CHECK_OK(loaded->Search(queries.data(), 10, k, BitsetView(), 1.0, found.output()));
  CHECK(expected.rows == found.rows && expected.scores == found.scores);
  CHECK(bytes == Bytes(*loaded));

  CHECK(load(bytes, size - 1).code() == StatusCode::kIndexInvalid);
  for (std::size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 3000) {
    std::vector<std::uint8_t> damaged = bytes;
    damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ (1u << random.Below(8)));
    CHECK(load(damaged, size).code() == StatusCode::kIndexInvalid);
  }
  for (std::size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / 300) {
    const std::vector<std::uint8_t> cut(bytes.begin(),
                                        bytes.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK(load(cut, size).code() == StatusCode::kIndexInvalid);
  }
}

void TestRefusals(const KernelTable& kernels) {
  Random random(44);
  const std::vector<float> rows = ClusteredRows(random, 100, 4, 5);
  const std::unique_ptr<ClusterIndex> index = Built(kernels, rows, 4, 1);
  std::vector<float> queries = ClusteredRows(random, 2, 4, 2);
  CHECK(index->Calibrate({queries.data(), 1, 5, 0.9}).code() == StatusCode::kOutOfRange);
  CHECK(index->Calibrate({queries.data(), 2, 101, 0.9}).code() == StatusCode::kOutOfRange);
  CHECK(index->Calibrate({queries.data(), 2, 5, 1.1}).code() == StatusCode::kOutOfRange);
  CHECK_OK(index->Calibrate({queries.data(), 2, 5, 1.0}));
  Results found(2, 3);
  queries[5] = std::nanf("");
  CHECK(index->Search(queries.data(), 2, 3, BitsetView(), 1.0, found.output()).code() ==
        StatusCode::kNonFinite);
  queries[5] = 1e20f;
  CHECK(index->Search(queries.data(), 2, 3, BitsetView(), 1.0, found.output()).code() ==
        StatusCode::kOutOfRange);
  std::atomic<std::size_t> done{0};
  std::unique_ptr<ClusterIndex> none;
  const ClusterTarget target = {rows.data(), 2, 5, 0.9};
  CHECK(ClusterIndex::Build(rows.data(), 0, 4, target, kernels, &done, &none).code() ==
        StatusCode::kOutOfRange);
  CHECK(none == nullptr);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestKMeans(kernels);
    TestRecallAndScores(kernels);
    TestFiltersGiveK(kernels);
  });
  // Codes and their sums are the same integers everywhere, and these tests take longer than all
  // others, so they run on one instruction set.
  const tandem::KernelTable& fast = OneIsa();
  TestBuildTakesTheCheaper(fast);
  TestFile(fast);
  TestRefusals(fast);
  TestDepths(fast);
  TestAlternatingQueries(fast);
  return Finish("cluster_index");
}
