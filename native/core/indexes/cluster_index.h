// Cluster-pruned search by inner product: k-means partitions of 8-bit residual codes, scanned nearest partition first,
// the best candidates scored again in f32. How far it looks is calibrated to a recall.
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
  /// [count, dimensions], count >= 2, from the distribution that will be searched with.
  const float* queries = nullptr;
  std::size_t count = 0;
  std::size_t k = 0;
  /// Share of the true top k to find, in (0, 1].
  double recall = 0.0;
};

/// Borrows its vectors, which must outlive it unchanged; codes take about 70 bytes beside 64 x f32. Searches may run at
/// the same time on any threads; Build and Calibrate come before them.
class ClusterIndex {
 public:
  ClusterIndex(const ClusterIndex&) = delete;
  ClusterIndex& operator=(const ClusterIndex&) = delete;

  /// The cheaper of two indexes that reach the target: one of many small clusters, one of a quarter as many. Which it is
  /// depends on the data: ranking many costs more, and scans fewer vectors where the data falls into many clumps.
  ///
  /// vectors [size, dimensions], checked to be finite and non-zero. Runs on the shared pool and blocks: call it off the
  /// JavaScript thread. The index depends on the vectors and the target alone, not on threads or timing. `done` counts up
  /// to BuildWork(size) while it runs; setting `cancel` ends it early with kInternal.
  static Status Build(const float* vectors, std::size_t size, std::size_t dimensions,
                      const ClusterTarget& target, const KernelTable& kernels,
                      std::atomic<std::size_t>* done, std::unique_ptr<ClusterIndex>* index);
  static std::size_t BuildWork(std::size_t size);

  /// An index of about `clusters` clusters, at most one a vector, with a reach of 0.
  static Status BuildClusters(const float* vectors, std::size_t size, std::size_t dimensions,
                              std::size_t clusters, const KernelTable& kernels,
                              std::atomic<std::size_t>* done, std::unique_ptr<ClusterIndex>* index);

  /// The index that Serialize wrote for these vectors. IndexInvalid unless checksum, counts, the rows and every number
  /// are what Build makes.
  static Status Load(const std::uint8_t* bytes, std::size_t size_bytes, const float* vectors,
                     std::size_t size, std::size_t dimensions, const KernelTable& kernels,
                     std::unique_ptr<ClusterIndex>* index);

  /// Sets the smallest reach that meets the target against the true top k, measured with every other query and two standard
  /// errors to spare, and likewise for an eighth of k, 2 k and 16 k; recall() is that of the queries between, for k.
  Status Calibrate(const ClusterTarget& target);

  /// Top k of the allowed vectors within reach of each query, by inner product, equal scores by lower row; their scores
  /// are ExactIndex's to the last bit. Never fewer than k where k are allowed: then it looks further.
  ///
  /// @param selectivity share of the vectors that `allow` leaves, in (0, 1]: the fewer, the further it has to look.
  Status Search(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                double selectivity, const SearchOutput& out) const;

  std::size_t SerializedSize() const;
  Status Serialize(std::uint8_t* out, std::size_t size_bytes) const;

  std::size_t size() const { return size_; }
  std::size_t dimensions() const { return dimensions_; }
  std::size_t clusters() const { return clusters_.size(); }
  const float* vectors() const { return vectors_; }
  const KernelTable& kernels() const { return *kernels_; }
  /// How many root-mean-square radii beyond its centroid a cluster is expected to reach towards a query, for the best k
  /// under a filter that leaves this share of the vectors.
  float radius_factor(std::size_t k, double selectivity) const;
  /// Share of the true top k that Calibrate found; 0 before.
  double recall() const { return static_cast<double>(recall_); }
  /// Work of a search for a calibration query, in codes scanned.
  double cost() const { return cost_; }

 private:
  struct Cluster {
    /// Position of its blocks among all.
    std::uint32_t first_block;
    std::uint32_t block_count;
    /// Step of its codes.
    float step;
  };
  struct Lane;
  struct Scratch;
  /// Depths for which a reach is calibrated, in k of the target. The depth of a search is where the last of its hits ranks
  /// among all vectors: k, and k / selectivity under a filter.
  static constexpr std::size_t kLevels = 4;
  static constexpr double kDepths[kLevels] = {0.125, 1.0, 2.0, 16.0};

  ClusterIndex() = default;
  Status Encode(const std::vector<std::uint32_t>& nearest, const float* centroids,
                std::size_t clusters);
  /// Makes what follows from clusters and centroids.
  Status FinishLoading();
  /// Search; `work`, if any, grows by what cost() counts.
  Status SearchCounted(const float* queries, std::size_t count, std::size_t k,
                       const BitsetView& allow, float radius_factor, const SearchOutput& out,
                       std::atomic<std::size_t>* work) const;
  void SearchGroup(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                   float radius_factor, const SearchOutput& out, Scratch* scratch) const;
  void Finish(const float* queries, std::size_t q, std::size_t k, const SearchOutput& out,
              Scratch* scratch) const;
  /// Depth of kDepths[level]; at least 1, at most size().
  std::size_t DepthOf(std::size_t level) const;
  static float GuessFirstBound(const std::vector<float>& score_bounds);
  void ScanClustersAbove(const float* query, float above, float most, const BitsetView& allow,
                         Lane* lane, Scratch* scratch) const;
  /// Where the codes of a cluster begin.
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
  /// One for each of kDepths.
  float radius_factors_[kLevels] = {};
  float recall_ = 0.0f;
  double cost_ = 0.0;

  std::vector<Cluster> clusters_;
  /// By cluster: root mean square distance of its vectors from the centroid.
  std::vector<float> radius_;
  /// [clusters, dimensions].
  AlignedBuffer centroids_;
  /// Codes of the centroids themselves, all with one step, for the first look at a query.
  AlignedArray<std::uint8_t> centroid_codes_;
  float centroid_step_ = 1.0f;
  /// Blocks of all clusters in order; a cluster's last block is filled up with kNoRow.
  AlignedArray<std::uint8_t> codes_;
  std::vector<std::uint32_t> rows_;
};

}  // namespace tandem
