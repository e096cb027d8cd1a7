// Building a ClusterIndex: k-means over a sample, then the codes of all vectors.

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
/// Rows that k-means looks at for each cluster.
constexpr std::size_t kRowsPerCluster = 96;
/// Vectors in a cluster, unless kMostPerRoot allows fewer clusters than that. Ranking the clusters
/// costs as much as scanning as many codes.
constexpr std::size_t kPerCluster = 64;
constexpr double kMostPerRoot = 16.0;
/// From this many clusters on, coarse clusters are found first and then split.
constexpr std::size_t kSplitFrom = 256;
constexpr std::uint64_t kSeed = 1;

/// The largest number of clusters that is tried.
std::size_t ManyClusters(std::size_t size) {
  const double root = std::sqrt(static_cast<double>(size));
  return std::max<std::size_t>(
      1, std::min(size / kPerCluster, static_cast<std::size_t>(kMostPerRoot * root)));
}
std::size_t FewClusters(std::size_t size) { return ManyClusters(size) / 4; }

std::size_t SampleSize(std::size_t size, std::size_t clusters) {
  return std::min(size, clusters * kRowsPerCluster);
}

/// Copies `sample` evenly spaced vectors; copies nothing when the sample is all of them. The order
/// of the rows of a catalogue carries no meaning, so this sample is as good as a random one. False
/// when memory is short.
bool CopySample(const float* vectors, std::size_t size, std::size_t dimensions, std::size_t sample,
                AlignedBuffer* out) {
  if (sample == size) return true;
  if (!out->Reserve(sample * dimensions)) return false;
  for (std::size_t i = 0; i < sample; ++i) {
    std::memcpy(out->data() + i * dimensions, vectors + i * size / sample * dimensions,
                dimensions * sizeof(float));
  }
  return true;
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

    const std::size_t sample = SampleSize(size, clusters);
    AlignedBuffer sampled;
    if (!CopySample(vectors, size, dimensions, sample, &sampled)) return OutOfMemory();
    const float* const rows = sample < size ? sampled.data() : vectors;
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
  if (!Partition(nearest, centroids, clusters)) return OutOfMemory();
  radius_.resize(clusters_.size());
  ThreadPool& pool = ThreadPool::Shared();
  std::vector<std::vector<float>> residuals(pool.size());
  for (std::vector<float>& each : residuals) each.resize(dimensions_);
  pool.ParallelFor(clusters_.size(), [&](std::size_t c, std::size_t worker) {
    EncodeCluster(c, residuals[worker].data());
  });
  return FinishLoading();
}

/// Makes the clusters that have vectors, and lists the rows of each. False when memory is short.
bool ClusterIndex::Partition(const std::vector<std::uint32_t>& nearest, const float* centroids,
                             std::size_t clusters) {
  std::vector<std::uint32_t> sizes(clusters, 0);
  for (const std::uint32_t c : nearest) ++sizes[c];
  // Clusters without vectors are left out.
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
    return false;
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
  return true;
}

/// Writes the codes, the step and the radius of cluster c. residual is scratch of [dimensions]
/// floats.
void ClusterIndex::EncodeCluster(std::size_t c, float* residual) {
  Cluster& cluster = clusters_[c];
  const float* centroid = centroids_.data() + c * dimensions_;
  std::uint8_t* const codes = codes_.data() + CodesOf(cluster);
  const std::uint32_t* const rows = rows_.data() + cluster.first_block * kCodeBlock;
  const std::uint32_t* const end = rows + cluster.block_count * kCodeBlock;
  const std::size_t count = static_cast<std::size_t>(std::find(rows, end, kNoRow) - rows);
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

}  // namespace tandem
