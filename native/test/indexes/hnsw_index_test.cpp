// Recall, filters and determinism of the graph, and hundreds of damaged files that must be refused
// or be harmless.

#include "core/indexes/hnsw_index.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/indexes/hnsw_links.h"
#include "test/check.h"
#include "test/indexes/search_results.h"

namespace tandem::test {
namespace {

std::vector<float> UnitVectors(Random& random, std::size_t count, std::size_t dimensions) {
  std::vector<float> vectors = random.Floats(count * dimensions);
  for (std::size_t i = 0; i < count; ++i) {
    double squares = 0;
    for (std::size_t d = 0; d < dimensions; ++d) {
      squares += static_cast<double>(vectors[i * dimensions + d]) *
                 static_cast<double>(vectors[i * dimensions + d]);
    }
    for (std::size_t d = 0; d < dimensions; ++d) {
      vectors[i * dimensions + d] /= static_cast<float>(std::sqrt(squares));
    }
  }
  return vectors;
}

std::unique_ptr<HnswIndex> Build(const std::vector<float>& vectors, std::size_t dimensions,
                                 std::size_t threads, const KernelTable& kernels) {
  AlignedBuffer copy;
  CHECK(copy.Reserve(vectors.size()));
  if (!vectors.empty()) std::memcpy(copy.data(), vectors.data(), vectors.size() * sizeof(float));
  HnswBuildOptions options;
  options.connectivity = 8;
  options.expansion_add = 64;
  options.threads = threads;
  std::atomic<std::size_t> added{0};
  std::unique_ptr<HnswIndex> index;
  CHECK_OK(HnswIndex::Build(std::move(copy), vectors.size() / dimensions, dimensions, options,
                            kernels, &added, &index));
  CHECK(added == vectors.size() / dimensions);
  return index;
}

std::vector<std::uint8_t> BytesOf(const HnswIndex& index) {
  std::vector<std::uint8_t> bytes(index.SerializedSize());
  CHECK_OK(index.Serialize(bytes.data(), bytes.size()));
  return bytes;
}

double Recall(const Results& found, const Results& truth, std::size_t count, std::size_t k) {
  std::size_t hits = 0, wanted = 0;
  for (std::size_t q = 0; q < count; ++q) {
    const auto begin = found.rows.begin() + static_cast<std::ptrdiff_t>(q * k);
    const std::set<std::int32_t> found_rows(begin, begin + found.counts[q]);
    for (std::int32_t i = 0; i < truth.counts[q]; ++i) {
      ++wanted;
      hits += found_rows.count(truth.rows[q * k + static_cast<std::size_t>(i)]);
    }
  }
  return static_cast<double>(hits) / static_cast<double>(std::max<std::size_t>(1, wanted));
}

void TestRecallAndFilters(const KernelTable& kernels, std::size_t threads) {
  Random random(30);
  const std::size_t size = 1500, dimensions = 24, count = 20, k = 10;
  const std::vector<float> vectors = UnitVectors(random, size, dimensions);
  const std::vector<float> queries = UnitVectors(random, count, dimensions);
  std::unique_ptr<HnswIndex> index = Build(vectors, dimensions, threads, kernels);
  if (index == nullptr) return;
  CHECK(index->connectivity() == 8);
  ExactIndex exact(kernels);
  CHECK_OK(exact.Reset(vectors.data(), size, dimensions));
  for (const std::size_t one_in : {std::size_t{0}, std::size_t{2}, std::size_t{10}}) {
    std::vector<std::uint32_t> bits((size + 31) / 32, 0);
    for (std::size_t i = 0; i < size; ++i) {
      if (one_in == 0 || random.Below(one_in) == 0) bits[i / 32] |= 1u << (i % 32);
    }
    const BitsetView allow(one_in == 0 ? nullptr : bits.data(), size);
    Results found(count, k), truth(count, k);
    CHECK_OK(index->Search(queries.data(), count, k, 128, allow, found.output()));
    CHECK_OK(exact.Search(queries.data(), count, k, allow, truth.output()));
    CHECK(Recall(found, truth, count, k) > 0.95);
    for (std::size_t q = 0; q < count; ++q) {
      for (std::int32_t i = 0; i < found.counts[q]; ++i) {
        const std::size_t at = q * k + static_cast<std::size_t>(i);
        const std::int32_t row = found.rows[at];
        CHECK(row >= 0 && static_cast<std::size_t>(row) < size);
        CHECK(allow.Test(static_cast<std::size_t>(row)));
        float score = 0;
        CHECK_OK(exact.Score(queries.data() + q * dimensions, &row, 1, &score));
        CHECK(score == found.scores[at]);
        if (i > 0) {
          CHECK(found.scores[at - 1] > found.scores[at] ||
                (found.scores[at - 1] == found.scores[at] && found.rows[at - 1] < row));
        }
      }
    }
  }
  const std::vector<std::uint32_t> none((size + 31) / 32, 0);
  Results found(1, k);
  CHECK_OK(index->Search(queries.data(), 1, k, 64, BitsetView(none.data(), size), found.output()));
  CHECK(found.counts[0] == 0);
  CHECK(found.rows[0] == -1);
}

/// The bytes of the same graph without any link to node `lost`, and the key of that node.
std::vector<std::uint8_t> WithoutLinksTo(std::vector<std::uint8_t> bytes, std::size_t size,
                                         std::size_t dimensions, std::uint32_t lost,
                                         std::size_t* key) {
  const auto read = [&](std::size_t at, auto value) {
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    return value;
  };
  std::size_t at = 8 + size * dimensions * sizeof(float) + 64;
  const std::size_t room = read(at + 8, std::uint64_t{});
  const std::size_t base_room = read(at + 16, std::uint64_t{});
  at += 40 + size * sizeof(std::int16_t);
  for (std::size_t node = 0; node < size; ++node) {
    if (node == lost) *key = read(at, std::uint64_t{});
    const std::int16_t level = read(at + 8, std::int16_t{});
    at += 10;
    for (std::int16_t l = 0; l <= level; ++l) {
      const std::uint32_t count = read(at, std::uint32_t{});
      std::uint32_t kept = 0;
      for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint32_t to = read(at + 4 + 4 * i, std::uint32_t{});
        if (to == lost) continue;
        std::memcpy(bytes.data() + at + 4 + 4 * kept++, &to, 4);
      }
      std::memcpy(bytes.data() + at, &kept, 4);
      at += 4 + 4 * (l == 0 ? base_room : room);
    }
  }
  CHECK(at == bytes.size());
  return bytes;
}

void TestEveryNodeCanBeFound(const KernelTable& kernels) {
  Random random(35);
  const std::size_t size = 1200, dimensions = 6;
  std::vector<float> vectors = UnitVectors(random, size, dimensions);
  // Many copies of few vectors: pruning by distance drops links among them.
  for (std::size_t i = size / 2; i < size; ++i) {
    std::memcpy(&vectors[i * dimensions], &vectors[i % 5 * dimensions], dimensions * sizeof(float));
  }
  for (const std::size_t threads : {1u, 4u}) {
    std::unique_ptr<HnswIndex> index = Build(vectors, dimensions, threads, kernels);
    if (index == nullptr) return;
    std::vector<std::uint8_t> bytes = BytesOf(*index);
    std::size_t repaired = 1;
    CHECK_OK(ConnectEveryNode(bytes.data(), &repaired));
    CHECK(repaired == 0);
    CHECK(bytes == BytesOf(*index));

    // The entry point is found whatever links to it, so at most one of two distinct nodes goes
    // unnoticed.
    std::size_t noticed = 0;
    for (const std::uint32_t lost : {77u, 78u}) {
      std::size_t key = 0;
      bytes = WithoutLinksTo(BytesOf(*index), size, dimensions, lost, &key);
      CHECK_OK(ConnectEveryNode(bytes.data(), &repaired));
      noticed += repaired > 0;
      std::unique_ptr<HnswIndex> healed;
      CHECK_OK(HnswIndex::Load(bytes.data(), bytes.size(), dimensions, kernels, &healed));
      if (healed == nullptr) return;
      Results found(1, size);
      CHECK_OK(healed->Search(&vectors[key * dimensions], 1, size, size, BitsetView(nullptr, size),
                              found.output()));
      CHECK(std::count(found.rows.begin(), found.rows.end(), static_cast<std::int32_t>(key)) == 1);
      CHECK_OK(ConnectEveryNode(bytes.data(), &repaired));
      CHECK(repaired == 0);
    }
    CHECK(noticed >= 1);
  }
}

void TestSmallIndexes(const KernelTable& kernels) {
  Random random(31);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{9}}) {
    const std::vector<float> vectors = UnitVectors(random, size, 4);
    std::unique_ptr<HnswIndex> built = Build(vectors, 4, 1, kernels);
    if (built == nullptr) return;
    const std::vector<std::uint8_t> bytes = BytesOf(*built);
    std::unique_ptr<HnswIndex> loaded;
    CHECK_OK(HnswIndex::Load(bytes.data(), bytes.size(), 4, kernels, &loaded));
    const std::vector<float> query = UnitVectors(random, 1, 4);
    for (HnswIndex* index : {built.get(), loaded.get()}) {
      if (index == nullptr) continue;
      Results found(1, 12);
      CHECK_OK(index->Search(query.data(), 1, 12, 16, BitsetView(nullptr, size), found.output()));
      CHECK(static_cast<std::size_t>(found.counts[0]) == size);
    }
  }
}

void TestSerialisation(const KernelTable& kernels) {
  Random random(32);
  const std::size_t size = 800, dimensions = 16, k = 10;
  const std::vector<float> vectors = UnitVectors(random, size, dimensions);
  std::unique_ptr<HnswIndex> first = Build(vectors, dimensions, 1, kernels);
  std::unique_ptr<HnswIndex> second = Build(vectors, dimensions, 1, kernels);
  if (first == nullptr || second == nullptr) return;
  const std::vector<std::uint8_t> bytes = BytesOf(*first);
  CHECK(bytes == BytesOf(*second));
  std::unique_ptr<HnswIndex> loaded;
  // One byte off a multiple of 4: nothing may rely on the alignment of the caller's buffer.
  std::vector<std::uint8_t> shifted(bytes.size() + 1);
  std::memcpy(shifted.data() + 1, bytes.data(), bytes.size());
  CHECK_OK(HnswIndex::Load(shifted.data() + 1, bytes.size(), dimensions, kernels, &loaded));
  if (loaded == nullptr) return;
  CHECK(BytesOf(*loaded) == bytes);
  const std::vector<float> queries = UnitVectors(random, 20, dimensions);
  Results a(20, k), b(20, k);
  CHECK_OK(first->Search(queries.data(), 20, k, 32, BitsetView(nullptr, size), a.output()));
  CHECK_OK(loaded->Search(queries.data(), 20, k, 32, BitsetView(nullptr, size), b.output()));
  CHECK(a.rows == b.rows);
  CHECK(a.scores == b.scores);
  CHECK(HnswIndex::Load(bytes.data(), bytes.size(), dimensions + 1, kernels, &loaded).code() ==
        StatusCode::kIndexInvalid);
}

void TestDamagedBytes(const KernelTable& kernels) {
  Random random(33);
  const std::size_t size = 200, dimensions = 8, k = 5;
  const std::vector<float> vectors = UnitVectors(random, size, dimensions);
  std::unique_ptr<HnswIndex> index = Build(vectors, dimensions, 1, kernels);
  if (index == nullptr) return;
  const std::vector<std::uint8_t> bytes = BytesOf(*index);
  const std::vector<float> query = UnitVectors(random, 1, dimensions);
  std::size_t refused = 0, served = 0;
  const auto attempt = [&](const std::vector<std::uint8_t>& damaged) {
    // An exact copy on the heap, so that a read past the end is a sanitizer error.
    const std::vector<std::uint8_t> copy(damaged);
    std::unique_ptr<HnswIndex> loaded;
    const Status status = HnswIndex::Load(copy.data(), copy.size(), dimensions, kernels, &loaded);
    if (!status.ok()) {
      CHECK(status.code() == StatusCode::kIndexInvalid);
      ++refused;
      return;
    }
    ++served;
    Results found(1, k);
    CHECK_OK(loaded->Search(query.data(), 1, k, 64, BitsetView(nullptr, size), found.output()));
    for (std::int32_t i = 0; i < found.counts[0]; ++i) {
      CHECK(found.rows[static_cast<std::size_t>(i)] >= 0 &&
            static_cast<std::size_t>(found.rows[static_cast<std::size_t>(i)]) < size);
    }
  };
  // The graph begins here. The vectors before it may hold any finite value.
  const std::size_t graph = 8 + size * dimensions * sizeof(float);
  for (int i = 0; i < 1500; ++i) {
    std::vector<std::uint8_t> damaged = bytes;
    const std::size_t from = i % 3 == 0 ? 0 : graph;
    const std::size_t span =
        i % 5 == 0 ? std::min<std::size_t>(160, bytes.size() - from) : bytes.size() - from;
    const std::size_t at = from + random.Below(span);
    damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ (1u << random.Below(8)));
    attempt(damaged);
  }
  for (int i = 0; i < 300; ++i) {
    std::vector<std::uint8_t> damaged = bytes;
    for (int j = 0; j < 20; ++j)
      damaged[random.Below(bytes.size())] = static_cast<std::uint8_t>(random.Next());
    attempt(damaged);
  }
  const std::size_t served_before = served;
  for (int i = 0; i < 300; ++i) {
    std::vector<std::uint8_t> damaged = bytes;
    damaged.resize(i < 150 ? static_cast<std::size_t>(i) : random.Below(bytes.size()));
    attempt(damaged);
  }
  std::vector<std::uint8_t> longer = bytes;
  longer.push_back(0);
  attempt(longer);
  CHECK(served == served_before);
  CHECK(refused > 300);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestRecallAndFilters(kernels, 1);
    TestRecallAndFilters(kernels, 3);
    TestEveryNodeCanBeFound(kernels);
    TestSmallIndexes(kernels);
    TestSerialisation(kernels);
    TestDamagedBytes(kernels);
  });
  return Finish("hnsw_index");
}
