// The search. Clusters are ranked by their codes' inner product, nearest first, in a few rounds of which nearly every
// query needs one; a cluster is scanned unless what it may hold cannot reach the pool's threshold.

#include "core/cluster_index.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <string>

#include "core/candidate_pool.h"
#include "core/cluster_layout.h"
#include "core/codes.h"
#include "core/thread_pool.h"
#include "core/vector_checks.h"

namespace tandem {
namespace {

/// Clusters ranked in the first round, and how many times more in each later one.
constexpr std::size_t kFirstClusters = 64;
constexpr std::size_t kMoreClusters = 8;
/// Every how-many-th cluster is looked at to guess the threshold of a round.
constexpr std::size_t kSampleStep = 16;
/// Blocks of codes whose sums are taken at once.
constexpr std::size_t kScanBlocks = 64;
constexpr std::size_t kParallelQueries = 2;

/// Candidates kept for f32 scoring: k and what rounding of the codes may have pushed down the list. An eighth more lost
/// less than 1e-4 of recall on every data set measured (bench retrieval).
std::size_t PoolRank(std::size_t k) { return k + std::max<std::size_t>(16, k / 4); }

}  // namespace

struct ClusterIndex::Scratch {
  std::vector<std::int8_t> query;
  std::vector<std::int32_t> cluster_sums;
  std::vector<std::int32_t> sample;
  std::vector<std::uint32_t> picked;
  struct Ranked {
    float base;
    std::uint32_t cluster;
  };
  std::vector<Ranked> ranked;
  std::int32_t sums[kScanBlocks * kCodeBlock];
  std::uint32_t above[kScanBlocks * kCodeBlock];

  QueryCode code;
  CandidatePool pool;
  TopK top;
};

Status ClusterIndex::Search(const float* queries, std::size_t count, std::size_t k,
                            const BitsetView& allow, const SearchRows& out) const {
  Status status = CheckVectors(*kernels_, queries, count, dimensions_, "queries");
  if (status.ok()) status = CheckNorms(*kernels_, queries, count, dimensions_, "queries");
  if (!status.ok()) return status;
  std::atomic<bool> enough{true};
  const auto one = [&](std::size_t query, std::size_t /*worker*/) {
    thread_local Scratch scratch;
    try {
      SearchOne(queries + query * dimensions_, k, allow, &scratch, out.slots + query * k,
                out.scores + query * k, out.counts + query);
    } catch (const std::exception&) {
      enough = false;
    }
  };
  ThreadPool& pool = ThreadPool::Shared();
  if (count >= kParallelQueries && pool.size() > 1) {
    pool.ParallelFor(count, one);
  } else {
    for (std::size_t query = 0; query < count; ++query) one(query, 0);
  }
  if (enough) return Status::Ok();
  return Status::Internal("Out of memory for a search of " + std::to_string(k) + " hits.");
}

void ClusterIndex::SearchOne(const float* query, std::size_t k, const BitsetView& allow, Scratch* s,
                             std::int32_t* slots, float* scores, std::int32_t* count) const {
  s->top.Start(k);
  s->pool.Start(PoolRank(k), 0.0f);
  s->query.resize(depth_);
  s->code = WriteQueryCode(query, dimensions_, s->query.data());
  const float greatest_reach = reach_ * max_radius_;

  const std::size_t clusters = clusters_.size();
  const std::size_t blocks = RoundUp(clusters, kCodeBlock) / kCodeBlock;
  s->cluster_sums.resize(blocks * kCodeBlock);
  s->picked.resize(clusters);
  std::int32_t* const sums = s->cluster_sums.data();
  kernels_->scan_codes(s->query.data(), 1, depth_, centroid_codes_.data(), blocks, sums,
                       blocks * kCodeBlock);

  // Clusters with sums in (floor, ceiling] are ranked in a round; the last one has no floor.
  constexpr std::int32_t kNoFloor = std::numeric_limits<std::int32_t>::min();
  std::int32_t ceiling = std::numeric_limits<std::int32_t>::max();
  for (std::size_t wanted = kFirstClusters;; wanted *= kMoreClusters) {
    const std::int32_t floor =
        2 * wanted < clusters ? std::min(ceiling, GuessFloor(sums, clusters, wanted, s)) : kNoFloor;
    const std::size_t found = kernels_->select_above_int(sums, clusters, floor, s->picked.data());
    s->ranked.clear();
    for (std::size_t i = 0; i < found; ++i) {
      const std::uint32_t c = s->picked[i];
      if (sums[c] > ceiling) continue;
      s->ranked.push_back(
          {kernels_->dot(query, centroids_.data() + c * dimensions_, dimensions_), c});
    }
    std::sort(s->ranked.begin(), s->ranked.end(),
              [](const Scratch::Ranked& a, const Scratch::Ranked& b) {
                return a.base > b.base || (a.base == b.base && a.cluster < b.cluster);
              });
    for (const Scratch::Ranked& next : s->ranked) {
      if (next.base + greatest_reach < s->pool.threshold()) break;
      const float reach = reach_ * clusters_[next.cluster].radius;
      if (next.base + reach >= s->pool.threshold()) ScanCluster(next.cluster, next.base, allow, s);
    }
    if (floor == kNoFloor) break;
    const float rest = centroid_step_ * s->code.step * static_cast<float>(floor - s->code.zero);
    if (rest + greatest_reach < s->pool.threshold()) break;
    ceiling = floor;
  }
  s->pool.Rescore(*kernels_, query, vectors_, dimensions_, &s->top);
  *count = static_cast<std::int32_t>(s->top.Finish(slots, scores));
}

/// A sum that about `wanted` clusters lie above, from every kSampleStep-th of them.
std::int32_t ClusterIndex::GuessFloor(const std::int32_t* sums, std::size_t clusters,
                                      std::size_t wanted, Scratch* s) {
  s->sample.clear();
  for (std::size_t c = 0; c < clusters; c += kSampleStep) s->sample.push_back(sums[c]);
  const auto nth = s->sample.begin() + static_cast<std::ptrdiff_t>(wanted / kSampleStep);
  std::nth_element(s->sample.begin(), nth, s->sample.end(), std::greater<>());
  return *nth;
}

void ClusterIndex::ScanCluster(std::uint32_t index, float base, const BitsetView& allow,
                               Scratch* s) const {
  const Cluster& cluster = clusters_[index];
  const float scale = cluster.step * s->code.step;
  const std::uint8_t* codes = codes_.data() + cluster.first_block * kCodeBlock * depth_;
  const std::uint32_t* slots = slots_.data() + cluster.first_block * kCodeBlock;
  for (std::size_t first = 0; first < cluster.block_count; first += kScanBlocks) {
    const std::size_t blocks = std::min<std::size_t>(kScanBlocks, cluster.block_count - first);
    kernels_->scan_codes(s->query.data(), 1, depth_, codes + first * kCodeBlock * depth_, blocks,
                         s->sums, kScanBlocks * kCodeBlock);
    const std::int32_t limit = SumLimit(s->pool.threshold(), base, scale, s->code.zero);
    const std::size_t found =
        kernels_->select_above_int(s->sums, blocks * kCodeBlock, limit, s->above);
    for (std::size_t i = 0; i < found; ++i) {
      const std::uint32_t slot = slots[first * kCodeBlock + s->above[i]];
      if (slot == kNoSlot || !allow.Test(slot)) continue;
      const std::int32_t sum = s->sums[s->above[i]] - s->code.zero;
      s->pool.Add(base + scale * static_cast<float>(sum), slot);
    }
    s->pool.Settle();
  }
}

}  // namespace tandem
