// Lloyd's k-means over f32 rows. It makes the partitions of ClusterIndex.
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

/// Finds centroids [clusters, dimensions] that minimise the squared distance of each of rows
/// [count, dimensions] to its nearest centroid, starting from a seeded draw of rows. count >=
/// clusters. The result depends only on the arguments, not on the number of threads. Runs on the
/// shared pool. `done` counts row assignments.
Status KMeans(const KernelTable& kernels, const float* rows, std::size_t count,
              std::size_t dimensions, const KMeansOptions& options, std::atomic<std::size_t>* done,
              AlignedBuffer* centroids);

/// KMeans for many clusters: finds coarse clusters first, splits each in proportion to its rows,
/// and moves all centroids once more to the means of the nearest rows of the whole. Costs about one
/// assignment of all rows to all centroids. Because of rounding, the number of centroids may differ
/// from the requested number.
Status SplitKMeans(const KernelTable& kernels, const float* rows, std::size_t count,
                   std::size_t dimensions, const KMeansOptions& options,
                   std::atomic<std::size_t>* done, AlignedBuffer* centroids, std::size_t* found);

/// nearest[i] = the centroid with the least squared distance to row i; the lower one of two equals.
Status AssignRows(const KernelTable& kernels, const float* rows, std::size_t count,
                  std::size_t dimensions, const float* centroids, std::size_t clusters,
                  std::atomic<std::size_t>* done, std::vector<std::uint32_t>* nearest);

}  // namespace tandem
