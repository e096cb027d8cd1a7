// Searches of every index from many threads at once, with filters, while the index in use is
// swapped, as in a server. Run under the tsan preset.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "core/indexes/cluster_index.h"
#include "core/indexes/exact_index.h"
#include "core/indexes/hnsw_index.h"
#include "test/check.h"
#include "test/indexes/search_results.h"

namespace tandem::test {
namespace {

constexpr std::size_t kSize = 1500;
constexpr std::size_t kDimensions = 16;
constexpr std::size_t kQueries = 12;
constexpr std::size_t kHits = 10;

/// The indexes of one bundle.
struct Indexes {
  std::vector<float> vectors;
  std::unique_ptr<ExactIndex> exact;
  std::unique_ptr<ExactIndex> coded;
  std::unique_ptr<ClusterIndex> clusters;
  std::unique_ptr<HnswIndex> graph;
  /// The rows that each index finds with each filter when one thread searches.
  std::vector<std::vector<std::int32_t>> expected;
};

/// Each combination of an index and a filter is a way to search.
constexpr std::size_t kEngines = 4;
constexpr std::size_t kFilters = 3;

std::vector<std::vector<std::uint32_t>> Filters() {
  Random random(70);
  std::vector<std::vector<std::uint32_t>> filters(kFilters);
  for (std::size_t f = 1; f < kFilters; ++f) {
    filters[f].resize((kSize + 31) / 32);
    for (std::uint32_t& word : filters[f]) word = static_cast<std::uint32_t>(random.Next());
  }
  return filters;
}

Status SearchOne(const Indexes& indexes, std::size_t way, const std::vector<float>& queries,
                 const std::vector<std::vector<std::uint32_t>>& filters, Results* out) {
  const std::vector<std::uint32_t>& filter = filters[way % kFilters];
  const BitsetView allow(filter.empty() ? nullptr : filter.data(), kSize);
  const float* rows = queries.data();
  switch (way / kFilters) {
    case 0:
      return indexes.exact->Search(rows, kQueries, kHits, allow, out->output());
    case 1:
      return indexes.coded->Search(rows, kQueries, kHits, allow, out->output());
    case 2:
      return indexes.clusters->Search(rows, kQueries, kHits, allow, 0.5, out->output());
    default:
      // Each filter has another expansion, so these searches have to take turns.
      return indexes.graph->Search(rows, kQueries, kHits, 32 + 16 * (way % kFilters), allow,
                                   out->output());
  }
}

std::shared_ptr<Indexes> Make(std::uint64_t seed, const std::vector<float>& queries,
                              const std::vector<std::vector<std::uint32_t>>& filters,
                              const KernelTable& kernels) {
  Random random(seed);
  auto made = std::make_shared<Indexes>();
  made->vectors = random.Floats(kSize * kDimensions);
  made->exact = std::make_unique<ExactIndex>(kernels);
  made->coded = std::make_unique<ExactIndex>(kernels);
  CHECK_OK(made->exact->Reset(made->vectors.data(), kSize, kDimensions));
  CHECK_OK(made->coded->Reset(made->vectors.data(), kSize, kDimensions));
  CHECK_OK(made->coded->AddCodes());
  std::atomic<std::size_t> done{0};
  CHECK_OK(ClusterIndex::Build(made->vectors.data(), kSize, kDimensions,
                               {queries.data(), kQueries, kHits, 0.9}, kernels, &done,
                               &made->clusters));
  AlignedBuffer copy;
  CHECK(copy.Reserve(made->vectors.size()));
  std::memcpy(copy.data(), made->vectors.data(), made->vectors.size() * sizeof(float));
  HnswBuildOptions options;
  options.connectivity = 8;
  options.expansion_add = 32;
  options.threads = 3;
  CHECK_OK(
      HnswIndex::Build(std::move(copy), kSize, kDimensions, options, kernels, &done, &made->graph));
  for (std::size_t way = 0; way < kEngines * kFilters; ++way) {
    Results results(kQueries, kHits);
    CHECK_OK(SearchOne(*made, way, queries, filters, &results));
    made->expected.push_back(results.rows);
  }
  return made;
}

void TestSearchesAndSwaps(const KernelTable& kernels) {
  Random random(71);
  const std::vector<float> queries = random.Floats(kQueries * kDimensions);
  const std::vector<std::vector<std::uint32_t>> filters = Filters();
  const std::shared_ptr<Indexes> bundles[2] = {Make(72, queries, filters, kernels),
                                               Make(73, queries, filters, kernels)};
  if (Failures() > 0) return;
  std::mutex mutex;
  std::shared_ptr<Indexes> current = bundles[0];
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t round = 0; round < 60; ++round) {
        std::shared_ptr<Indexes> in_use;
        {
          std::lock_guard<std::mutex> lock(mutex);
          in_use = current;
        }
        const std::size_t way = (round * 5 + t) % (kEngines * kFilters);
        Results results(kQueries, kHits);
        const Status status = SearchOne(*in_use, way, queries, filters, &results);
        if (!status.ok() || results.rows != in_use->expected[way]) ++wrong;
      }
    });
  }
  std::thread swapper([&] {
    for (std::size_t swap = 0; !stop; ++swap) {
      std::lock_guard<std::mutex> lock(mutex);
      current = bundles[swap % 2];
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  swapper.join();
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) { TestSearchesAndSwaps(kernels); });
  return Finish("concurrency");
}
