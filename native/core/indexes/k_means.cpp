// Assigning rows to centroids is one matrix product: |x - c|^2 is least where x . c - |c|^2 / 2 is
// greatest, and -|c|^2 / 2 is the bias.

#include "core/indexes/k_means.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <numeric>

#include "core/runtime/gemm.h"
#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

/// Rows of one task: their scores against kColumns centroids are 192 KiB and stay in L2.
constexpr std::size_t kRows = 96;
constexpr std::size_t kColumns = 512;

/// splitmix64.
class Stream {
 public:
  explicit Stream(std::uint64_t seed) : state_(seed) {}
  std::size_t Below(std::size_t limit) {
    state_ += 0x9E3779B97F4A7C15ull;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<std::size_t>((z ^ (z >> 31)) % limit);
  }

 private:
  std::uint64_t state_;
};

Status OutOfMemory() { return Status::Internal("Out of memory for the clusters of an index."); }

}  // namespace

Status AssignRows(const KernelTable& kernels, const float* rows, std::size_t count,
                  std::size_t dimensions, const float* centroids, std::size_t clusters,
                  std::atomic<std::size_t>* done, std::vector<std::uint32_t>* nearest) {
  ThreadPool& pool = ThreadPool::Shared();
  AlignedBuffer packed, bias;
  std::vector<AlignedBuffer> scores(pool.size());
  try {
    nearest->resize(count);
  } catch (const std::exception&) {
    return OutOfMemory();
  }
  bool enough = packed.Reserve(PackedSize(kernels, dimensions, clusters)) && bias.Reserve(clusters);
  for (AlignedBuffer& each : scores) enough = enough && each.Reserve(kRows * kColumns);
  if (!enough) return OutOfMemory();
  PackPanels(kernels, centroids, dimensions, true, dimensions, clusters, packed.data());
  for (std::size_t c = 0; c < clusters; ++c) {
    const float* centroid = centroids + c * dimensions;
    bias.data()[c] = -0.5f * kernels.dot(centroid, centroid, dimensions);
  }

  pool.ParallelFor((count + kRows - 1) / kRows, [&](std::size_t task, std::size_t worker) {
    const std::size_t first = task * kRows;
    const std::size_t rows_here = std::min(kRows, count - first);
    float best[kRows];
    std::fill(best, best + rows_here, -std::numeric_limits<float>::infinity());
    GemmBlock block = {};
    block.a = rows + first * dimensions;
    block.a_row_stride = static_cast<ptrdiff_t>(dimensions);
    block.a_k_stride = 1;
    block.b_k_stride = static_cast<ptrdiff_t>(kernels.column_tile);
    block.b_panel_stride = static_cast<ptrdiff_t>(kernels.column_tile * dimensions);
    block.m = rows_here;
    block.k = dimensions;
    block.c = scores[worker].data();
    block.c_row_stride = static_cast<ptrdiff_t>(kColumns);
    for (std::size_t column = 0; column < clusters; column += kColumns) {
      block.n = std::min(kColumns, clusters - column);
      block.b = packed.data() + column * dimensions;
      block.bias = bias.data() + column;
      kernels.gemm(block);
      for (std::size_t r = 0; r < rows_here; ++r) {
        const float* row = block.c + r * kColumns;
        const float greatest = kernels.reduce_row(ReduceOp::kMax, row, block.n);
        if (!(greatest > best[r])) continue;
        best[r] = greatest;
        const std::size_t at =
            static_cast<std::size_t>(std::find(row, row + block.n, greatest) - row);
        (*nearest)[first + r] = static_cast<std::uint32_t>(column + at);
      }
    }
    done->fetch_add(rows_here, std::memory_order_relaxed);
  });
  return Status::Ok();
}

/// Moves each centroid to the mean of the rows nearest to it. A centroid without rows becomes a
/// random row.
void MoveToMeans(const float* rows, std::size_t count, std::size_t dimensions,
                 const std::vector<std::uint32_t>& nearest, std::size_t clusters, Stream* stream,
                 float* centroids) {
  std::vector<std::uint32_t> sizes(clusters, 0);
  std::vector<double> sums(clusters * dimensions, 0.0);
  for (std::size_t i = 0; i < count; ++i) {
    ++sizes[nearest[i]];
    double* sum = sums.data() + nearest[i] * dimensions;
    const float* row = rows + i * dimensions;
    for (std::size_t d = 0; d < dimensions; ++d) sum[d] += static_cast<double>(row[d]);
  }
  for (std::size_t c = 0; c < clusters; ++c) {
    float* mean = centroids + c * dimensions;
    if (sizes[c] == 0) {
      std::memcpy(mean, rows + stream->Below(count) * dimensions, dimensions * sizeof(float));
      continue;
    }
    for (std::size_t d = 0; d < dimensions; ++d) {
      mean[d] = static_cast<float>(sums[c * dimensions + d] / sizes[c]);
    }
  }
}

Status KMeans(const KernelTable& kernels, const float* rows, std::size_t count,
              std::size_t dimensions, const KMeansOptions& options, std::atomic<std::size_t>* done,
              AlignedBuffer* centroids) {
  const std::size_t clusters = options.clusters;
  if (!centroids->Reserve(clusters * dimensions)) return OutOfMemory();
  float* const means = centroids->data();
  try {
    Stream stream(options.seed);
    // The first `clusters` positions of a shuffle are distinct rows.
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    for (std::size_t c = 0; c < clusters; ++c) {
      std::swap(order[c], order[c + stream.Below(count - c)]);
      std::memcpy(means + c * dimensions, rows + order[c] * dimensions, dimensions * sizeof(float));
    }
    std::vector<std::uint32_t> nearest;
    for (std::size_t iteration = 0; iteration < options.iterations; ++iteration) {
      const Status status =
          AssignRows(kernels, rows, count, dimensions, means, clusters, done, &nearest);
      if (!status.ok()) return status;
      MoveToMeans(rows, count, dimensions, nearest, clusters, &stream, means);
    }
  } catch (const std::exception&) {
    return OutOfMemory();
  }
  return Status::Ok();
}

Status SplitKMeans(const KernelTable& kernels, const float* rows, std::size_t count,
                   std::size_t dimensions, const KMeansOptions& options,
                   std::atomic<std::size_t>* done, AlignedBuffer* centroids, std::size_t* found) {
  KMeansOptions part = options;
  part.clusters = static_cast<std::size_t>(std::sqrt(static_cast<double>(options.clusters)));
  AlignedBuffer coarse;
  Status status = KMeans(kernels, rows, count, dimensions, part, done, &coarse);
  try {
    std::vector<std::uint32_t> nearest;
    if (status.ok()) {
      status = AssignRows(kernels, rows, count, dimensions, coarse.data(), part.clusters, done,
                          &nearest);
    }
    if (!status.ok()) return status;
    std::vector<std::vector<std::uint32_t>> members(part.clusters);
    for (std::size_t i = 0; i < count; ++i) {
      members[nearest[i]].push_back(static_cast<std::uint32_t>(i));
    }
    std::vector<std::size_t> counts(members.size(), 0);
    std::size_t total = 0;
    for (std::size_t c = 0; c < members.size(); ++c) {
      const std::size_t size = members[c].size();
      counts[c] = (options.clusters * size + count / 2) / count;
      if (size > 0) counts[c] = std::max<std::size_t>(1, counts[c]);
      total += counts[c];
    }
    if (!centroids->Reserve(total * dimensions)) return OutOfMemory();
    AlignedBuffer own, split;
    float* next = centroids->data();
    for (std::size_t c = 0; c < members.size(); ++c) {
      const std::size_t size = members[c].size();
      if (size == 0) continue;
      if (!own.Reserve(size * dimensions)) return OutOfMemory();
      for (std::size_t i = 0; i < size; ++i) {
        std::memcpy(own.data() + i * dimensions, rows + members[c][i] * dimensions,
                    dimensions * sizeof(float));
      }
      part.clusters = counts[c];
      part.seed = options.seed + 1 + c;
      status = KMeans(kernels, own.data(), size, dimensions, part, done, &split);
      if (!status.ok()) return status;
      std::memcpy(next, split.data(), counts[c] * dimensions * sizeof(float));
      next += counts[c] * dimensions;
    }
    Stream stream(options.seed);
    status = AssignRows(kernels, rows, count, dimensions, centroids->data(), total, done, &nearest);
    if (!status.ok()) return status;
    MoveToMeans(rows, count, dimensions, nearest, total, &stream, centroids->data());
    *found = total;
  } catch (const std::exception&) {
    return OutOfMemory();
  }
  return Status::Ok();
}

}  // namespace tandem
