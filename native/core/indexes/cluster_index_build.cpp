// Building and calibrating a ClusterIndex.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <numeric>
#include <string>

#include "core/indexes/cluster_index.h"
#include "core/indexes/cluster_layout.h"
#include "core/indexes/codes.h"
#include "core/indexes/exact_index.h"
#include "core/indexes/k_means.h"
#include "core/indexes/vector_checks.h"
#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

constexpr std::size_t kIterations = 10;
/// Rows for each cluster that k-means looks at.
constexpr std::size_t kRowsPerCluster = 96;
/// Vectors in a cluster, as far as the second line allows: ranking the clusters costs as much as scanning as many codes.
constexpr std::size_t kPerCluster = 64;
constexpr double kMostPerRoot = 16.0;
/// More clusters than this are found by splitting coarse ones.
constexpr std::size_t kSplitFrom = 256;
constexpr std::uint64_t kSeed = 1;

/// How many clusters of vectors there are to be at most.
std::size_t ManyClusters(std::size_t size) {
  const double root = std::sqrt(static_cast<double>(size));
  return std::max<std::size_t>(
      1, std::min(size / kPerCluster, static_cast<std::size_t>(kMostPerRoot * root)));
}
std::size_t FewClusters(std::size_t size) { return ManyClusters(size) / 4; }

std::size_t SampleSize(std::size_t size, std::size_t clusters) {
  return std::min(size, clusters * kRowsPerCluster);
}

/// A bijection of 32 bits.
std::uint32_t Scrambled(std::uint32_t x) {
  x *= 2654435761u;
  x = (x ^ (x >> 15)) * 2246822519u;
  return x ^ (x >> 13);
}

Status OutOfMemory() { return Status::Internal("Out of memory for a cluster index."); }

}  // namespace

std::size_t ClusterIndex::BuildWork(std::size_t size) {
  const auto work = [size](std::size_t clusters) {
    const std::size_t rounds = clusters < kSplitFrom ? kIterations : 2 * kIterations + 2;
    return rounds * SampleSize(size, clusters) + size;
  };
  const std::size_t few = FewClusters(size);
  return work(ManyClusters(size)) + (few == 0 ? 0 : work(few));
}

Status ClusterIndex::Build(const float* vectors, std::size_t size, std::size_t dimensions,
                           const ClusterTarget& target, const KernelTable& kernels,
                           std::atomic<std::size_t>* done, std::unique_ptr<ClusterIndex>* index) {
  std::unique_ptr<ClusterIndex> best;
  for (const std::size_t clusters : {ManyClusters(size), FewClusters(size)}) {
    if (clusters == 0) continue;
    std::unique_ptr<ClusterIndex> made;
    Status status = BuildClusters(vectors, size, dimensions, clusters, kernels, done, &made);
    if (status.ok()) status = made->Calibrate(target);
    if (!status.ok()) return status;
    if (best == nullptr || made->cost() < best->cost()) best = std::move(made);
  }
  *index = std::move(best);
  return Status::Ok();
}

Status ClusterIndex::BuildClusters(const float* vectors, std::size_t size, std::size_t dimensions,
                                   std::size_t clusters, const KernelTable& kernels,
                                   std::atomic<std::size_t>* done,
                                   std::unique_ptr<ClusterIndex>* index) {
  if (size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return Status::OutOfRange("Expected at most 2147483647 vectors, received " +
                              std::to_string(size) + ".");
  }
  if (size == 0) return Status::OutOfRange("Expected at least one vector to cluster, received 0.");
  if (dimensions > kMaxCodeDepth) {
    return Status::OutOfRange("Expected at most " + std::to_string(kMaxCodeDepth) +
                              " dimensions for a cluster index, received " +
                              std::to_string(dimensions) + ".");
  }
  const Status fits = CheckNorms(kernels, vectors, size, dimensions, "vectors");
  if (!fits.ok()) return fits;
  try {
    std::unique_ptr<ClusterIndex> made(new ClusterIndex());
    made->kernels_ = &kernels;
    made->vectors_ = vectors;
    made->size_ = size;
    made->dimensions_ = dimensions;
    made->depth_ = CodeDepth(dimensions);
    clusters = std::max<std::size_t>(1, std::min(clusters, size));
    PreferHugePages(vectors, size * dimensions * sizeof(float));

    // Every so-many-th row: rows carry no order that matters, and no second copy of all is made.
    const std::size_t sample = SampleSize(size, clusters);
    AlignedBuffer sampled;
    const float* rows = vectors;
    if (sample < size) {
      if (!sampled.Reserve(sample * dimensions)) return OutOfMemory();
      for (std::size_t i = 0; i < sample; ++i) {
        const std::size_t row = i * size / sample;
        std::memcpy(sampled.data() + i * dimensions, vectors + row * dimensions,
                    dimensions * sizeof(float));
      }
      rows = sampled.data();
    }
    KMeansOptions means;
    means.clusters = clusters;
    means.iterations = kIterations;
    means.seed = kSeed;
    AlignedBuffer centroids;
    Status status =
        clusters < kSplitFrom
            ? KMeans(kernels, rows, sample, dimensions, means, done, &centroids)
            : SplitKMeans(kernels, rows, sample, dimensions, means, done, &centroids, &clusters);
    std::vector<std::uint32_t> nearest;
    if (status.ok()) {
      status = AssignRows(kernels, vectors, size, dimensions, centroids.data(), clusters, done,
                          &nearest);
    }
    if (status.ok()) status = made->Encode(nearest, centroids.data(), clusters);
    if (!status.ok()) return status;
    *index = std::move(made);
    return Status::Ok();
  } catch (const std::exception& error) {
    return Status::Internal(std::string("Building the cluster index failed: ") + error.what());
  }
}

Status ClusterIndex::Encode(const std::vector<std::uint32_t>& nearest, const float* centroids,
                            std::size_t clusters) {
  std::vector<std::uint32_t> sizes(clusters, 0);
  for (const std::uint32_t c : nearest) ++sizes[c];
  // Clusters that nobody is nearest to are left out.
  std::vector<std::uint32_t> positions(clusters, kNoRow);
  std::size_t blocks = 0;
  for (std::size_t c = 0; c < clusters; ++c) {
    if (sizes[c] == 0) continue;
    positions[c] = static_cast<std::uint32_t>(clusters_.size());
    Cluster cluster = {};
    cluster.first_block = static_cast<std::uint32_t>(blocks);
    cluster.block_count = static_cast<std::uint32_t>(RoundUp(sizes[c], kCodeBlock) / kCodeBlock);
    blocks += cluster.block_count;
    clusters_.push_back(cluster);
  }
  rows_.assign(blocks * kCodeBlock, kNoRow);
  if (!centroids_.Reserve(clusters_.size() * dimensions_) ||
      !codes_.Reserve(blocks * kCodeBlock * depth_)) {
    return OutOfMemory();
  }
  for (std::size_t c = 0; c < clusters; ++c) {
    if (positions[c] == kNoRow) continue;
    std::memcpy(centroids_.data() + positions[c] * dimensions_, centroids + c * dimensions_,
                dimensions_ * sizeof(float));
  }
  std::vector<std::uint32_t> next(clusters_.size());
  for (std::size_t c = 0; c < clusters_.size(); ++c) {
    next[c] = clusters_[c].first_block * static_cast<std::uint32_t>(kCodeBlock);
  }
  for (std::size_t row = 0; row < size_; ++row) {
    rows_[next[positions[nearest[row]]]++] = static_cast<std::uint32_t>(row);
  }

  radius_.resize(clusters_.size());
  ThreadPool& pool = ThreadPool::Shared();
  std::vector<std::vector<float>> residuals(pool.size());
  for (std::vector<float>& each : residuals) each.resize(dimensions_);
  pool.ParallelFor(clusters_.size(), [&](std::size_t c, std::size_t worker) {
    Cluster& cluster = clusters_[c];
    const float* centroid = centroids_.data() + c * dimensions_;
    std::uint8_t* const codes = codes_.data() + cluster.first_block * kCodeBlock * depth_;
    const std::uint32_t* rows = rows_.data() + cluster.first_block * kCodeBlock;
    const std::size_t count = next[c] - cluster.first_block * kCodeBlock;
    float* const residual = residuals[worker].data();
    const auto read = [&](std::size_t i) {
      const float* vector = vectors_ + std::size_t{rows[i]} * dimensions_;
      for (std::size_t d = 0; d < dimensions_; ++d) residual[d] = vector[d] - centroid[d];
    };
    float largest = 0.0f;
    double squares = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      read(i);
      for (std::size_t d = 0; d < dimensions_; ++d) {
        largest = std::max(largest, std::fabs(residual[d]));
        squares += static_cast<double>(residual[d]) * static_cast<double>(residual[d]);
      }
    }
    cluster.step = CodeStep(largest, kMaxCode);
    radius_[c] = static_cast<float>(std::sqrt(squares / static_cast<double>(count)));
    std::memset(codes, kCodeZero, std::size_t{cluster.block_count} * kCodeBlock * depth_);
    for (std::size_t i = 0; i < count; ++i) {
      read(i);
      WriteCode(residual, dimensions_, cluster.step, i, codes);
    }
  });
  return FinishLoading();
}

Status ClusterIndex::FinishLoading() {
  const std::size_t clusters = clusters_.size();
  const std::size_t blocks = RoundUp(clusters, kCodeBlock) / kCodeBlock;
  if (!centroid_codes_.Reserve(blocks * kCodeBlock * depth_)) return OutOfMemory();
  float largest = 0.0f;
  for (std::size_t i = 0; i < clusters * dimensions_; ++i) {
    largest = std::max(largest, std::fabs(centroids_.data()[i]));
  }
  centroid_step_ = CodeStep(largest, kMaxCode);
  std::memset(centroid_codes_.data(), kCodeZero, blocks * kCodeBlock * depth_);
  for (std::size_t c = 0; c < clusters; ++c) {
    WriteCode(centroids_.data() + c * dimensions_, dimensions_, centroid_step_, c,
              centroid_codes_.data());
  }
  return Status::Ok();
}

Status ClusterIndex::Calibrate(const ClusterTarget& target) {
  const std::size_t count = target.count;
  const std::size_t k = target.k;
  if (count < 2 || k < 1 || k > size_) {
    return Status::OutOfRange("Expected at least 2 queries and k from 1 to " +
                              std::to_string(size_) + " to calibrate with, received " +
                              std::to_string(count) + " and " + std::to_string(k) + ".");
  }
  if (!(target.recall > 0.0) || !(target.recall <= 1.0)) {
    return Status::OutOfRange("Expected a recall target in (0, 1], received " +
                              std::to_string(target.recall) + ".");
  }
  try {
    // Every other query is searched for the reach, those between are held out: two blocks, one after the other. Every
    // other one by a hash, for queries may alternate in kind.
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(),
              [](std::uint32_t a, std::uint32_t b) { return Scrambled(a) < Scrambled(b); });
    const std::size_t halves[2] = {(count + 1) / 2, count / 2};
    std::vector<float> rows(count * dimensions_);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t row = i % 2 * halves[0] + i / 2;
      std::memcpy(rows.data() + row * dimensions_, target.queries + order[i] * dimensions_,
                  dimensions_ * sizeof(float));
    }
    std::vector<std::int32_t> truth, found, counts(count);
    std::vector<float> scores;
    ExactIndex exact(*kernels_);
    Status status = exact.Reset(vectors_, size_, dimensions_);
    if (status.ok()) status = exact.AddCodes();

    /// Mean share of the true top k found for queries [first, first + size), its standard error, and cost().
    struct Recall {
      double mean;
      double error;
      double cost;
    };
    const auto measure = [&](std::size_t first, std::size_t size, std::size_t depth,
                             float radius_factor, Recall* recall) {
      std::atomic<std::size_t> work{0};
      const Status searched =
          SearchCounted(rows.data() + first * dimensions_, size, depth, BitsetView(nullptr, size_),
                        radius_factor, {found.data(), scores.data(), counts.data()}, &work);
      double sum = 0.0;
      double squares = 0.0;
      for (std::size_t q = 0; q < size; ++q) {
        const std::int32_t* const expected = &truth[(first + q) * depth];
        std::size_t hits = 0;
        for (std::size_t i = 0; i < depth; ++i) {
          if (std::binary_search(expected, expected + depth, found[q * depth + i])) ++hits;
        }
        const double share = static_cast<double>(hits) / static_cast<double>(depth);
        sum += share;
        squares += share * share;
      }
      const double n = static_cast<double>(size);
      recall->mean = sum / n;
      recall->error = std::sqrt(std::max(0.0, squares / n - recall->mean * recall->mean) / n);
      recall->cost = static_cast<double>(work) / n;
      return searched;
    };
    calibrated_k_ = k;
    for (std::size_t level = 0; status.ok() && level < kLevels; ++level) {
      const std::size_t depth = DepthOf(level);
      truth.resize(count * depth);
      found.resize(count * depth);
      scores.resize(count * depth);
      status = exact.Search(rows.data(), count, depth, BitsetView(nullptr, size_),
                            {truth.data(), scores.data(), counts.data()});
      if (!status.ok()) break;
      for (std::size_t q = 0; q < count; ++q) {
        std::sort(&truth[q * depth], &truth[q * depth] + depth);
      }
      float low = 0.0f;
      float high = kGreatestRadiusFactor;
      Recall recall = {};
      for (int step = 0; status.ok() && step < kCalibrationSteps; ++step) {
        const float radius_factor = 0.5f * (low + high);
        status = measure(0, halves[0], depth, radius_factor, &recall);
        // The target must hold for queries not seen here. A mean of 1 has nothing to spare and needs nothing.
        const bool met = recall.mean - 2.0 * recall.error >= target.recall || recall.mean >= 1.0;
        (met ? high : low) = radius_factor;
      }
      radius_factors_[level] = high;
      if (!status.ok() || depth != k) continue;
      status = measure(halves[0], halves[1], depth, high, &recall);
      recall_ = static_cast<float>(recall.mean);
      cost_ = recall.cost;
    }
    return status;
  } catch (const std::exception&) {
    return OutOfMemory();
  }
}

}  // namespace tandem
