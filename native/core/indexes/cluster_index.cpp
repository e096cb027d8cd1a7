// The search. Each cluster has a score bound: the score of its centroid plus what its radius may
// add. The clusters with the highest bounds are scanned first, until no bound exceeds the pool's
// threshold.

#include "core/indexes/cluster_index.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <string>

#include "core/indexes/candidate_pool.h"
#include "core/indexes/cluster_layout.h"
#include "core/indexes/codes.h"
#include "core/indexes/vector_checks.h"
#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

/// Of each group of this many clusters, one is sampled. The second best bound of the sample decides
/// which clusters are scanned first: about twice this many clusters have a higher bound.
constexpr std::size_t kSampleStep = 32;
/// Blocks of codes that are summed at once.
constexpr std::size_t kScanBlocks = 64;
/// Queries in a group share one pass over the centroids.
constexpr std::size_t kGroup = 4;
/// Cost of moving on to another cluster, in codes scanned: the cluster's first cache lines come
/// from memory.
constexpr std::size_t kClusterCost = 64;
/// Bytes of the next cluster that are prefetched while one is scanned: about all of it. They go to
/// L2, because L1 accepts so few prefetches at a time that issuing them would stall.
constexpr std::size_t kAheadBytes = 8192;
constexpr std::size_t kAheadRows = 128;

/// Candidates kept for scoring in f32: k, and some more, because the rounding of codes moves a hit
/// down the list by a few ranks.
std::size_t PoolRank(std::size_t k) { return k + std::max<std::size_t>(16, k / 4); }

}  // namespace

/// What one query of a group keeps until it is rescored.
struct ClusterIndex::Lane {
  QueryCode code;
  const std::int8_t* codes;
  CandidatePool pool;
};

struct ClusterIndex::Scratch {
  Lane lanes[kGroup];
  std::vector<std::int8_t> codes;
  std::vector<std::int32_t> cluster_sums;
  /// The score bound of each cluster.
  std::vector<float> score_bounds;
  std::vector<std::uint32_t> picked;
  /// Score bounds and clusters that are still to be scanned, as a heap.
  std::vector<RankKey> ranked;
  std::int32_t sums[kScanBlocks * kCodeBlock];
  std::uint32_t above[kScanBlocks * kCodeBlock];
  /// See ClusterIndex::cost().
  std::size_t work;
  TopK top;
};

Status ClusterIndex::Search(const float* queries, std::size_t count, std::size_t k,
                            const BitsetView& allow, double selectivity,
                            const SearchOutput& out) const {
  return SearchCounted(queries, count, k, allow, radius_factor(k, selectivity), out, nullptr);
}

std::size_t ClusterIndex::DepthOf(std::size_t level) const {
  const double depth = kDepths[level] * static_cast<double>(calibrated_k_);
  return std::min(size_, std::max<std::size_t>(1, static_cast<std::size_t>(depth)));
}

float ClusterIndex::radius_factor(std::size_t k, double selectivity) const {
  const double depth = static_cast<double>(k) / selectivity;
  for (std::size_t level = 0; level < kLevels; ++level) {
    const double calibrated = static_cast<double>(DepthOf(level));
    if (depth > calibrated) continue;
    if (level == 0 || depth == calibrated) return radius_factors_[level];
    // The depth lies between two calibrated ones.
    return std::max(radius_factors_[level - 1], radius_factors_[level]);
  }
  return radius_factors_[kLevels - 1];
}

Status ClusterIndex::SearchCounted(const float* queries, std::size_t count, std::size_t k,
                                   const BitsetView& allow, float radius_factor,
                                   const SearchOutput& out, std::atomic<std::size_t>* work) const {
  Status status = CheckVectors(*kernels_, queries, count, dimensions_, "queries");
  if (status.ok()) status = CheckNorms(*kernels_, queries, count, dimensions_, "queries");
  if (!status.ok()) return status;
  std::atomic<bool> enough{true};
  ThreadPool& pool = ThreadPool::Shared();
  // With few queries, groups are smaller, so that every thread has one.
  const std::size_t share = (count + pool.size() - 1) / pool.size();
  const std::size_t width = std::max<std::size_t>(1, std::min(kGroup, share));
  const auto group = [&](std::size_t index, std::size_t /*worker*/) {
    thread_local Scratch scratch;
    const std::size_t first = index * width;
    const SearchOutput part = {out.rows + first * k, out.scores + first * k, out.counts + first};
    try {
      scratch.work = 0;
      SearchGroup(queries + first * dimensions_, std::min(width, count - first), k, allow,
                  radius_factor, part, &scratch);
      if (work != nullptr) work->fetch_add(scratch.work, std::memory_order_relaxed);
    } catch (const std::exception&) {
      enough = false;
    }
  };
  const std::size_t groups = (count + width - 1) / width;
  if (groups > 1 && pool.size() > 1) {
    pool.ParallelFor(groups, group);
  } else {
    for (std::size_t index = 0; index < groups; ++index) group(index, 0);
  }
  if (enough) return Status::Ok();
  return Status::Internal("Out of memory for a search of " + std::to_string(k) + " hits.");
}

void ClusterIndex::SearchGroup(const float* queries, std::size_t count, std::size_t k,
                               const BitsetView& allow, float radius_factor,
                               const SearchOutput& out, Scratch* s) const {
  const std::size_t clusters = clusters_.size();
  const std::size_t padded_clusters = RoundUp(clusters, kCodeBlock);
  s->codes.resize(kGroup * depth_);
  s->cluster_sums.resize(kGroup * padded_clusters);
  s->score_bounds.resize(clusters);
  s->picked.resize(clusters);
  for (std::size_t q = 0; q < count; ++q) {
    std::int8_t* const codes = s->codes.data() + q * depth_;
    s->lanes[q].codes = codes;
    s->lanes[q].code = WriteQueryCode(queries + q * dimensions_, dimensions_, codes);
    s->lanes[q].pool.Start(PoolRank(k), 0.0f);
  }
  kernels_->scan_codes(s->codes.data(), count, depth_, centroid_codes_.data(),
                       padded_clusters / kCodeBlock, s->cluster_sums.data(), padded_clusters);
  s->work += count * clusters;

  for (std::size_t q = 0; q < count; ++q) {
    const float* const query = queries + q * dimensions_;
    Lane& lane = s->lanes[q];
    const std::int32_t* const sums = s->cluster_sums.data() + q * padded_clusters;
    const float scale = centroid_step_ * lane.code.step;
    for (std::size_t c = 0; c < clusters; ++c) {
      s->score_bounds[c] =
          scale * static_cast<float>(sums[c] - lane.code.zero) + radius_factor * radius_[c];
    }
    // First scan the clusters with the highest bounds, which raises the pool's threshold. Then scan
    // all others whose bound exceeds that threshold.
    const float first = GuessFirstBound(s->score_bounds);
    ScanClustersAbove(query, first, std::numeric_limits<float>::infinity(), allow, &lane, s);
    if (lane.pool.threshold() < first) {
      ScanClustersAbove(query, lane.pool.threshold(), first, allow, &lane, s);
    }
    // A query is rescored one query later: by then its vectors have arrived from memory.
    lane.pool.Close(vectors_, dimensions_);
    if (q > 0) Finish(queries, q - 1, k, out, s);
  }
  if (count > 0) Finish(queries, count - 1, k, out, s);
}

void ClusterIndex::Finish(const float* queries, std::size_t q, std::size_t k,
                          const SearchOutput& out, Scratch* s) const {
  s->top.Start(k);
  s->lanes[q].pool.Rescore(*kernels_, queries + q * dimensions_, vectors_, dimensions_, &s->top);
  out.counts[q] = static_cast<std::int32_t>(s->top.Finish(out.rows + q * k, out.scores + q * k));
}

/// A bound that a few dozen clusters exceed; -Inf when there are no more clusters than that.
float ClusterIndex::GuessFirstBound(const std::vector<float>& score_bounds) {
  float best = -std::numeric_limits<float>::infinity();
  float second = best;
  for (std::size_t c = 0; c < score_bounds.size(); c += kSampleStep) {
    second = std::max(second, std::min(best, score_bounds[c]));
    best = std::max(best, score_bounds[c]);
  }
  return score_bounds.size() > 2 * kSampleStep ? second : -std::numeric_limits<float>::infinity();
}

/// Scans the clusters whose score bound lies in (above, most], the highest bounds first.
void ClusterIndex::ScanClustersAbove(const float* query, float above, float most,
                                     const BitsetView& allow, Lane* lane, Scratch* s) const {
  const std::size_t found = kernels_->select_above(s->score_bounds.data(), s->score_bounds.size(),
                                                   above, s->picked.data());
  s->ranked.clear();
  for (std::size_t i = 0; i < found; ++i) {
    const std::uint32_t cluster = s->picked[i];
    if (s->score_bounds[cluster] <= most)
      s->ranked.push_back(MakeRankKey(s->score_bounds[cluster], cluster));
  }
  // A heap, because few of the clusters are scanned: sorting all of them took longer than the
  // scans.
  const auto begin = s->ranked.begin();
  std::make_heap(begin, s->ranked.end());
  for (auto end = s->ranked.end(); end != begin;) {
    const RankKey next = *begin;
    if (ScoreOf(next) < lane->pool.threshold()) return;
    std::pop_heap(begin, end--);
    if (end != begin) Prefetch(RowOf(*begin));
    const std::uint32_t cluster = RowOf(next);
    const float* centroid = centroids_.data() + cluster * dimensions_;
    ScanCluster(cluster, kernels_->dot(query, centroid, dimensions_), allow, lane, s);
  }
}

/// Prefetches what scanning a cluster reads first.
void ClusterIndex::Prefetch(std::uint32_t index) const {
  const Cluster& cluster = clusters_[index];
  constexpr int kRead = 0, kIntoL2 = 2;
  const auto ask = [](const void* from, std::size_t bytes) {
    const char* const first = static_cast<const char*>(from);
    for (std::size_t byte = 0; byte < bytes; byte += 64) {
      __builtin_prefetch(first + byte, kRead, kIntoL2);
    }
  };
  const std::size_t items = cluster.block_count * kCodeBlock;
  ask(centroids_.data() + index * dimensions_, dimensions_ * sizeof(float));
  ask(codes_.data() + CodesOf(cluster), std::min(kAheadBytes, items * depth_));
  ask(rows_.data() + cluster.first_block * kCodeBlock,
      std::min(kAheadRows, items) * sizeof(std::uint32_t));
}

void ClusterIndex::ScanCluster(std::uint32_t index, float base, const BitsetView& allow, Lane* lane,
                               Scratch* s) const {
  const Cluster& cluster = clusters_[index];
  s->work += kClusterCost + cluster.block_count * kCodeBlock;
  const float scale = cluster.step * lane->code.step;
  const std::uint8_t* codes = codes_.data() + CodesOf(cluster);
  const std::uint32_t* rows = rows_.data() + cluster.first_block * kCodeBlock;
  for (std::size_t first = 0; first < cluster.block_count; first += kScanBlocks) {
    const std::size_t blocks = std::min<std::size_t>(kScanBlocks, cluster.block_count - first);
    kernels_->scan_codes(lane->codes, 1, depth_, codes + first * kCodeBlock * depth_, blocks,
                         s->sums, kScanBlocks * kCodeBlock);
    const std::int32_t limit = SumLimit(lane->pool.threshold(), base, scale, lane->code.zero);
    const std::size_t found =
        kernels_->select_above_int(s->sums, blocks * kCodeBlock, limit, s->above);
    for (std::size_t i = 0; i < found; ++i) {
      const std::uint32_t row = rows[first * kCodeBlock + s->above[i]];
      if (row == kNoRow || !allow.Test(row)) continue;
      const std::int32_t sum = s->sums[s->above[i]] - lane->code.zero;
      lane->pool.Add(base + scale * static_cast<float>(sum), row);
    }
    lane->pool.Settle();
  }
}

}  // namespace tandem
