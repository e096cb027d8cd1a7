// Lloyd's k-means over f32 rows: the partitions of ClusterIndex.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "kernels/kernels.h"

namespace tandem {

struct KMeansOptions {
  std::size_t clusters = 1;
  std::size_t iterations = 10;
  std::uint64_t seed = 1;
};

/// Centroids [clusters, dimensions] that minimise the squared distance of rows [count, dimensions] to their nearest one,
/// from a seeded draw of rows. count >= clusters. The result depends on nothing but the arguments, whatever the number
/// of threads; it runs on the shared pool. `done` counts row assignments; `cancel` ends it early with kInternal.
Status KMeans(const KernelTable& kernels, const float* rows, std::size_t count,
              std::size_t dimensions, const KMeansOptions& options, std::atomic<std::size_t>* done,
              AlignedBuffer* centroids);

/// As KMeans for many clusters: coarse clusters first, each then split in proportion to its rows, and all centroids moved
/// once more by the nearest rows of the whole. Costs about one assignment of all rows to all centroids; the number of
/// centroids found may differ from the one asked for by rounding.
Status SplitKMeans(const KernelTable& kernels, const float* rows, std::size_t count,
                   std::size_t dimensions, const KMeansOptions& options,
                   std::atomic<std::size_t>* done, AlignedBuffer* centroids, std::size_t* found);

/// nearest[i] = the centroid with the least squared distance to row i, the lower one of two equals.
Status AssignRows(const KernelTable& kernels, const float* rows, std::size_t count,
                  std::size_t dimensions, const float* centroids, std::size_t clusters,
                  std::atomic<std::size_t>* done, std::vector<std::uint32_t>* nearest);

}  // namespace tandem
