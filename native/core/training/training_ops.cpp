// Row-wise and elementwise operations of a training step: layer norm, dropout, and the gradient of
// a relu.

#include "core/training/training_ops.h"

#include <algorithm>
#include <cstring>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

/// Elements of a task: about 10 microseconds of work, more than passing it to another thread costs.
constexpr std::size_t kChunk = 16384;
/// Rows whose gradients of scale and offset one task sums. A single wide row is work enough for a
/// task, and the partial sums of 256 rows are small against the rows.
constexpr std::size_t kNormRows = 256;

}  // namespace

void LayerNorm(const KernelTable& kernels, const float* a, std::size_t rows, std::size_t n,
               const float* scale, const float* offset, float epsilon, float* out) {
  const std::size_t tasks = (rows + kNormRows - 1) / kNormRows;
  ThreadPool::Shared().ParallelFor(tasks, [&](std::size_t task, std::size_t /*worker*/) {
    const std::size_t first = task * kNormRows;
    kernels.layer_norm(a + first * n, n, std::min(kNormRows, rows - first), n, scale, offset,
                       epsilon, out + first * n, n);
  });
}

Status LayerNormBackward(const KernelTable& kernels, const float* a, const float* dy,
                         std::size_t rows, std::size_t n, const float* scale, float epsilon,
                         float* da, float* dscale, float* doffset) {
  const std::size_t tasks = (rows + kNormRows - 1) / kNormRows;
  AlignedBuffer partial;
  if (!partial.Reserve(2 * tasks * n)) {
    return Status::Internal("Out of memory for the gradient of a layer norm.");
  }
  ThreadPool::Shared().ParallelFor(tasks, [&](std::size_t task, std::size_t /*worker*/) {
    const std::size_t first = task * kNormRows;
    float* const scales = partial.data() + task * n;
    float* const offsets = scales + tasks * n;
    std::memset(scales, 0, n * sizeof(float));
    std::memset(offsets, 0, n * sizeof(float));
    kernels.layer_norm_backward(a + first * n, dy + first * n, std::min(kNormRows, rows - first), n,
                                scale, epsilon, da + first * n, scales, offsets);
  });
  kernels.reduce_columns(ReduceOp::kSum, partial.data(), tasks, n, n, dscale);
  kernels.reduce_columns(ReduceOp::kSum, partial.data() + tasks * n, tasks, n, n, doffset);
  return Status::Ok();
}

void Dropout(const KernelTable& kernels, std::uint32_t seed, std::uint32_t threshold, float scale,
             const float* a, std::size_t n, float* out) {
  const std::size_t tasks = (n + kChunk - 1) / kChunk;
  ThreadPool::Shared().ParallelFor(tasks, [&](std::size_t task, std::size_t /*worker*/) {
    const std::size_t first = task * kChunk;
    kernels.dropout(seed, static_cast<std::uint32_t>(first), threshold, scale, a + first,
                    std::min(kChunk, n - first), out + first);
  });
}

void ReluBackward(const float* y, const float* dy, std::size_t n, float* out) {
  const std::size_t tasks = (n + kChunk - 1) / kChunk;
  ThreadPool::Shared().ParallelFor(tasks, [&](std::size_t task, std::size_t /*worker*/) {
    // This loop waits for memory on every instruction set, so it has no kernel.
    const std::size_t end = std::min(n, (task + 1) * kChunk);
    for (std::size_t i = task * kChunk; i < end; ++i) {
      // Loaded for every y, so that no branch keeps the compiler from vectorising the loop.
      const float gradient = dy[i];
      out[i] = y[i] > 0 ? gradient : 0.0f;
    }
  });
}

}  // namespace tandem
