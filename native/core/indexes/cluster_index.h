// Cluster-pruned search by inner product. Vectors are partitioned by k-means and stored as 8-bit
// codes of their residuals. The nearest partitions are scanned first, and the best candidates are
// scored again in f32. How far a search looks is calibrated to a target recall.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/indexes/bitset.h"
#include "core/indexes/search_output.h"
#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "kernels/kernels.h"

namespace tandem {

/// What an index is calibrated to.
struct ClusterTarget {
  /// [count, dimensions] with count >= 2, drawn from the distribution of the queries that will be
  /// searched.
  const float* queries = nullptr;
  std::size_t count = 0;
  std::size_t k = 0;
  /// Share of the true top k that a search should find, in (0, 1].
  double recall = 0.0;
};

/// Borrows its vectors, which must outlive it and must not change. The codes add about 70 bytes to
/// a vector of 64 x f32. Searches may run at the same time on any threads, after Build and
/// Calibrate have ended.
class ClusterIndex {
 public:
  ClusterIndex(const ClusterIndex&) = delete;
  ClusterIndex& operator=(const ClusterIndex&) = delete;

  /// Builds two indexes that reach the target, one of many small clusters and one of a quarter as
  /// many, and keeps the cheaper one. Which one is cheaper depends on the data: ranking many
  /// clusters costs more, but scans fewer vectors when the data falls into many clumps.
  ///
  /// vectors [size, dimensions] were checked to be finite and non-zero. Runs on the shared pool and
  /// blocks, so call it off the JavaScript thread. The index depends only on the vectors and the
  /// target, not on threads or timing. `done` counts up to BuildWork(size) while it runs.
  static Status Build(const float* vectors, std::size_t size, std::size_t dimensions,
                      const ClusterTarget& target, const KernelTable& kernels,
                      std::atomic<std::size_t>* done, std::unique_ptr<ClusterIndex>* index);
  static std::size_t BuildWork(std::size_t size);

  /// Builds an index of about `clusters` clusters, at most one for each vector, with radius factors
  /// of 0.
  static Status BuildClusters(const float* vectors, std::size_t size, std::size_t dimensions,
                              std::size_t clusters, const KernelTable& kernels,
                              std::atomic<std::size_t>* done, std::unique_ptr<ClusterIndex>* index);

  /// Loads the index that Serialize wrote for these vectors. IndexInvalid unless the checksum, the
  /// counts, the rows and every number are ones that Build makes.
  static Status Load(const std::uint8_t* bytes, std::size_t size_bytes, const float* vectors,
                     std::size_t size, std::size_t dimensions, const KernelTable& kernels,
                     std::unique_ptr<ClusterIndex>* index);

  /// Sets the smallest radius factors whose recall of the true top k meets the target. One half of
  /// the queries determines the factors, with a margin of two standard errors. There is a factor
  /// for each depth in kDepths. The other half of the queries then measures recall(), for k.
  Status Calibrate(const ClusterTarget& target);

  /// Top k of the allowed vectors by inner product, among the clusters that the radius factor
  /// covers. Equal scores are ordered by lower row. The scores equal those of ExactIndex to the
  /// last bit. When at least k vectors are allowed, a search never returns fewer than k: it looks
  /// further instead.
  ///
  /// @param selectivity share of the vectors that `allow` leaves, in (0, 1]. The smaller the share,
  ///   the further the search has to look.
  Status Search(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                double selectivity, const SearchOutput& out) const;

  std::size_t SerializedSize() const;
  Status Serialize(std::uint8_t* out, std::size_t size_bytes) const;

  std::size_t size() const { return size_; }
  std::size_t dimensions() const { return dimensions_; }
  std::size_t clusters() const { return clusters_.size(); }
  const float* vectors() const { return vectors_; }
  const KernelTable& kernels() const { return *kernels_; }
  /// The number of root-mean-square radii that a cluster is assumed to extend beyond its centroid
  /// towards a query. It depends on k and on the share of the vectors that a filter leaves.
  float radius_factor(std::size_t k, double selectivity) const;
  /// Share of the true top k that Calibrate measured; 0 before Calibrate.
  double recall() const { return static_cast<double>(recall_); }
  /// Work of an average search for a calibration query, in codes scanned.
  double cost() const { return cost_; }

 private:
  struct Cluster {
    /// Index of its first block among all blocks.
    std::uint32_t first_block;
    std::uint32_t block_count;
    /// Quantisation step of its codes.
    float step;
  };
  struct Lane;
  struct Scratch;
  /// Depths for which a radius factor is calibrated, in multiples of the target's k. The depth of a
  /// search is the rank of its last hit among all vectors: k without a filter, and k / selectivity
  /// with one.
  static constexpr std::size_t kLevels = 4;
  static constexpr double kDepths[kLevels] = {0.125, 1.0, 2.0, 16.0};

  ClusterIndex() = default;
  /// Fills the index from the nearest centroid of each vector.
  Status Encode(const std::vector<std::uint32_t>& nearest, const float* centroids,
                std::size_t clusters);
  bool Partition(const std::vector<std::uint32_t>& nearest, const float* centroids,
                 std::size_t clusters);
  void EncodeCluster(std::size_t c, float* residual);
  struct Calibration;
  struct MeasuredRecall;
  Status Measure(Calibration* calibration, std::size_t half, std::size_t depth, float radius_factor,
                 MeasuredRecall* recall) const;
  /// Computes everything that follows from the clusters and centroids.
  Status FinishLoading();
  /// Search with a given radius factor. `work`, if given, grows by the work that cost() counts.
  Status SearchCounted(const float* queries, std::size_t count, std::size_t k,
                       const BitsetView& allow, float radius_factor, const SearchOutput& out,
                       std::atomic<std::size_t>* work) const;
  void SearchGroup(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                   float radius_factor, const SearchOutput& out, Scratch* scratch) const;
  void Finish(const float* queries, std::size_t q, std::size_t k, const SearchOutput& out,
              Scratch* scratch) const;
  /// The depth of kDepths[level], at least 1 and at most size().
  std::size_t DepthOf(std::size_t level) const;
  static float GuessFirstBound(const std::vector<float>& score_bounds);
  void ScanClustersAbove(const float* query, float above, float most, const BitsetView& allow,
                         Lane* lane, Scratch* scratch) const;
  /// Index of a cluster's first code component.
  std::size_t CodesOf(const Cluster& cluster) const {
    return std::size_t{cluster.first_block} * kCodeBlock * depth_;
  }
  void Prefetch(std::uint32_t cluster) const;
  void ScanCluster(std::uint32_t cluster, float base, const BitsetView& allow, Lane* lane,
                   Scratch* scratch) const;

  const KernelTable* kernels_ = nullptr;
  const float* vectors_ = nullptr;
  std::size_t size_ = 0;
  std::size_t dimensions_ = 0;
  std::size_t depth_ = 0;
  std::size_t calibrated_k_ = 1;
  /// One factor for each of kDepths.
  float radius_factors_[kLevels] = {};
  float recall_ = 0.0f;
  double cost_ = 0.0;

  std::vector<Cluster> clusters_;
  /// Root mean square distance of each cluster's vectors from its centroid.
  std::vector<float> radius_;
  /// [clusters, dimensions].
  AlignedBuffer centroids_;
  /// Codes of the centroids, all with one step. They rank the clusters for a query.
  AlignedArray<std::uint8_t> centroid_codes_;
  float centroid_step_ = 1.0f;
  /// Blocks of all clusters in order. The last block of a cluster is filled up with kNoRow.
  AlignedArray<std::uint8_t> codes_;
  std::vector<std::uint32_t> rows_;
};

}  // namespace tandem
