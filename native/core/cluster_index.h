// Cluster-pruned search by inner product: k-means partitions of 8-bit residual codes, scanned nearest partition first,
// the best candidates scored again in f32. How far it looks is calibrated to a recall.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/bitset.h"
#include "core/exact_index.h"
#include "core/status.h"
#include "kernels/kernels.h"

namespace tandem {

struct ClusterBuildOptions {
  /// 0 = one for 64 vectors, at most 16 sqrt(size).
  std::size_t clusters = 0;
};

/// Borrows its vectors, which must outlive it unchanged; codes take about 70 bytes beside 64 x f32. Searches may run at
/// the same time on any threads; Build, Calibrate and SetReach come before them.
class ClusterIndex {
 public:
  ClusterIndex(const ClusterIndex&) = delete;
  ClusterIndex& operator=(const ClusterIndex&) = delete;

  /// vectors [size, dimensions], checked to be finite and non-zero. Runs on the shared pool and blocks: call it off the
  /// JavaScript thread. The index depends on the vectors alone, not on the number of threads. `done` counts up to
  /// BuildWork(size, options) while it runs; setting `cancel` ends it early with kInternal.
  static Status Build(const float* vectors, std::size_t size, std::size_t dimensions,
                      const ClusterBuildOptions& options, const KernelTable& kernels,
                      std::atomic<std::size_t>* done, const std::atomic<bool>* cancel,
                      std::unique_ptr<ClusterIndex>* index);
  static std::size_t BuildWork(std::size_t size, const ClusterBuildOptions& options);

  /// The index that Serialize wrote for these vectors. IndexInvalid unless checksum, counts, the slots and every number
  /// are what Build makes.
  static Status Load(const std::uint8_t* bytes, std::size_t size_bytes, const float* vectors,
                     std::size_t size, std::size_t dimensions, const KernelTable& kernels,
                     std::unique_ptr<ClusterIndex>* index);

  /// Sets the smallest reach with which the top k of the queries are found to `recall_target`, measured against the true
  /// ones with every other query; recall() is that of those between. Queries [count, dimensions], count >= 2, from the
  /// distribution that will be searched with.
  Status Calibrate(const float* queries, std::size_t count, std::size_t k, double recall_target);

  /// Top k of the allowed vectors within reach of each query, by inner product, equal scores by lower slot; their scores
  /// are ExactIndex's to the last bit. Never fewer than k where k are allowed: then it looks further.
  Status Search(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                const SearchRows& out) const;

  std::size_t SerializedSize() const;
  Status Serialize(std::uint8_t* out, std::size_t size_bytes) const;

  std::size_t size() const { return size_; }
  std::size_t dimensions() const { return dimensions_; }
  std::size_t clusters() const { return clusters_.size(); }
  const float* vectors() const { return vectors_; }
  const KernelTable& kernels() const { return *kernels_; }
  /// How many root-mean-square radii beyond its centroid a cluster is expected to reach towards a query.
  float reach() const { return reach_; }
  /// Share of the true top k that Calibrate found; 0 before.
  double recall() const { return static_cast<double>(recall_); }

 private:
  struct Cluster {
    /// Position of its blocks among all.
    std::uint32_t first_block;
    std::uint32_t block_count;
    /// Step of its codes.
    float step;
    /// Root mean square distance of its vectors from the centroid.
    float radius;
  };
  struct Scratch;

  ClusterIndex() = default;
  Status Encode(const std::vector<std::uint32_t>& nearest, const float* centroids,
                std::size_t clusters);
  /// Makes what follows from clusters and centroids.
  Status FinishLoading();
  void SearchOne(const float* query, std::size_t k, const BitsetView& allow, Scratch* scratch,
                 std::int32_t* slots, float* scores, std::int32_t* count) const;
  static std::int32_t GuessFloor(const std::int32_t* sums, std::size_t clusters, std::size_t wanted,
                                 Scratch* scratch);
  void ScanCluster(std::uint32_t cluster, float base, const BitsetView& allow,
                   Scratch* scratch) const;

  const KernelTable* kernels_ = nullptr;
  const float* vectors_ = nullptr;
  std::size_t size_ = 0;
  std::size_t dimensions_ = 0;
  std::size_t depth_ = 0;
  float reach_ = 0.0f;
  float recall_ = 0.0f;

  std::vector<Cluster> clusters_;
  /// [clusters, dimensions].
  AlignedBuffer centroids_;
  /// Codes of the centroids themselves, all with one step, for the first look at a query.
  AlignedArray<std::uint8_t> centroid_codes_;
  float centroid_step_ = 1.0f;
  /// Blocks of all clusters in order; a cluster's last block is filled up with kNoSlot.
  AlignedArray<std::uint8_t> codes_;
  std::vector<std::uint32_t> slots_;
  float max_radius_ = 0.0f;
};

}  // namespace tandem
