// Blocking and threading of matrix products. The kernels hold a tile of outputs in registers over
// all of k. This file decides what is packed, in which order blocks run, and which outputs a thread
// owns.

#include <algorithm>
#include <atomic>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/gemm.h"
#include "core/runtime/thread_pool.h"
#include "core/training/tensor_ops.h"

namespace tandem {
namespace {

/// Depth of a block of k: a panel of 16 columns is 16 KiB, half of L1.
constexpr std::size_t kDepth = 256;
/// Rows of a task: 96 x kDepth floats of a are 96 KiB and stay in L2 while panels of b pass. A
/// multiple of 6 and 12.
constexpr std::size_t kRows = 96;
/// Columns of a block of packed b: 1024 x kDepth floats are 1 MiB. A multiple of every column tile.
constexpr std::size_t kColumns = 1024;
/// Multiplications that are worth passing to the pool: about 5 microseconds at 50 GFMA/s.
constexpr std::size_t kParallelWork = std::size_t{1} << 18;
/// A row-major b of up to this many floats (32 KiB) is read in place: packing would cost more than
/// its strides do.
constexpr std::size_t kUnpackedSize = 8192;

/// Scratch of one thread. It grows to the largest block that the thread has packed, and is kept.
struct Scratch {
  AlignedBuffer a;
  AlignedBuffer b;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

/// With few rows, reading b once in place is faster than packing it, which reads and writes all of
/// it.
bool ReadsUnpacked(const MatmulArguments& x) {
  return !x.transpose_b && (x.k * x.n <= kUnpackedSize || x.m <= 8);
}

const float* PanelSource(const MatmulArguments& x, const float* b, std::size_t depth,
                         std::size_t column) {
  return x.transpose_b ? b + column * x.k + depth : b + depth * x.n + column;
}

/// Points `block` at rows [row, row + m) and depths [depth, depth + k) of a. False when memory is
/// short.
///
/// The rows of a transposed a are first copied side by side, in the same order. Otherwise the
/// kernels would step over the rest of a row at every step of k, again for every panel.
bool SetRows(const KernelTable& kernels, const MatmulArguments& x, const float* a, std::size_t row,
             std::size_t depth, GemmBlock* block) {
  if (!x.transpose_a) {
    block->a = a + row * x.k + depth;
    block->a_row_stride = static_cast<ptrdiff_t>(x.k);
    block->a_k_stride = 1;
    return true;
  }
  const float* source = a + depth * x.m + row;
  if (block->n <= kernels.column_tile || block->m <= 8) {
    block->a = source;
    block->a_row_stride = 1;
    block->a_k_stride = static_cast<ptrdiff_t>(x.m);
    return true;
  }
  AlignedBuffer& scratch = ThreadScratch().a;
  if (!scratch.Reserve(block->m * block->k)) return false;
  for (std::size_t p = 0; p < block->k; ++p) {
    PackRow(source + p * x.m, block->m, scratch.data() + p * block->m);
  }
  block->a = scratch.data();
  block->a_row_stride = 1;
  block->a_k_stride = static_cast<ptrdiff_t>(block->m);
  return true;
}

/// Outputs [first_row, end_row) x [first_column, end_column) of one product.
struct Part {
  std::size_t first_row;
  std::size_t end_row;
  std::size_t first_column;
  std::size_t end_column;
};

/// Computes one part of a product over all of k, on the calling thread.
bool MultiplyPart(const KernelTable& kernels, const MatmulArguments& x, const Part& part,
                  const float* a, const float* b, float* out) {
  const std::size_t tile = kernels.column_tile;
  const std::size_t width = part.end_column - part.first_column;
  const bool unpacked = ReadsUnpacked(x);
  const std::size_t step = unpacked ? width : std::min(kColumns, width);
  AlignedBuffer& scratch = ThreadScratch().b;
  if (!unpacked && !scratch.Reserve(PackedSize(kernels, std::min(kDepth, x.k), step))) return false;
  GemmBlock block = {};
  block.c_row_stride = static_cast<ptrdiff_t>(x.n);
  for (std::size_t column = part.first_column; column < part.end_column; column += step) {
    block.n = std::min(step, part.end_column - column);
    for (std::size_t depth = 0; depth < x.k; depth += kDepth) {
      block.k = std::min(kDepth, x.k - depth);
      const bool last = depth + block.k == x.k;
      block.bias = last && x.bias != nullptr ? x.bias + column : nullptr;
      block.relu = last && x.relu;
      block.accumulate = depth > 0;
      if (unpacked) {
        block.b = b + depth * x.n + column;
        block.b_k_stride = static_cast<ptrdiff_t>(x.n);
        block.b_panel_stride = static_cast<ptrdiff_t>(tile);
      } else {
        PackPanels(kernels, PanelSource(x, b, depth, column), x.transpose_b ? x.k : x.n,
                   x.transpose_b, block.k, block.n, scratch.data());
        block.b = scratch.data();
        block.b_k_stride = static_cast<ptrdiff_t>(tile);
        block.b_panel_stride = static_cast<ptrdiff_t>(tile * block.k);
      }
      for (std::size_t row = part.first_row; row < part.end_row; row += kRows) {
        block.m = std::min(kRows, part.end_row - row);
        if (!SetRows(kernels, x, a, row, depth, &block)) return false;
        block.c = out + row * x.n + column;
        kernels.gemm(block);
      }
    }
  }
  return true;
}

/// Computes a deep product with few outputs, such as a weight gradient, on the pool. Each thread
/// keeps its outputs over all of k and packs for itself what it reads, because a barrier for every
/// block of depth would cost more than packing a few times over. Hence there are as few parts as
/// threads, and the longer side of out is cut.
bool MultiplyDeep(const KernelTable& kernels, const MatmulArguments& x, const float* a,
                  const float* b, float* out) {
  ThreadPool& pool = ThreadPool::Shared();
  const std::size_t tile = kernels.column_tile;
  const std::size_t strips = (x.m + tile - 1) / tile;
  const std::size_t panels = (x.n + tile - 1) / tile;
  const std::size_t longer = std::min(pool.size(), std::max(strips, panels));
  const std::size_t shorter =
      std::min((pool.size() + longer - 1) / longer, std::min(strips, panels));
  const std::size_t rows = strips > panels ? longer : shorter;
  const std::size_t columns = strips > panels ? shorter : longer;
  std::atomic<bool> enough{true};
  pool.ParallelFor(rows * columns, [&](std::size_t task, std::size_t /*worker*/) {
    const std::size_t row = task / columns;
    const std::size_t column = task % columns;
    const Part part = {x.m * row / rows, x.m * (row + 1) / rows, panels * column / columns * tile,
                       std::min(x.n, panels * (column + 1) / columns * tile)};
    if (!MultiplyPart(kernels, x, part, a, b, out)) enough = false;
  });
  return enough;
}

/// Computes one product on the whole pool: threads share each packed block of b and own tiles of
/// outputs.
bool MultiplyShared(const KernelTable& kernels, const MatmulArguments& x, const float* a,
                    const float* b, float* out) {
  const std::size_t tile = kernels.column_tile;
  ThreadPool& pool = ThreadPool::Shared();
  AlignedBuffer& scratch = ThreadScratch().b;
  const std::size_t max_columns = std::min(kColumns, x.n);
  if (!scratch.Reserve(PackedSize(kernels, std::min(kDepth, x.k), max_columns))) return false;
  float* const packed = scratch.data();
  std::atomic<bool> enough{true};
  for (std::size_t column = 0; column < x.n; column += kColumns) {
    const std::size_t columns = std::min(kColumns, x.n - column);
    const std::size_t panels = (columns + tile - 1) / tile;
    // Tiles are cut along rows only when there are enough of them; otherwise columns are cut as
    // well, in whole panels.
    const std::size_t row_blocks = (x.m + kRows - 1) / kRows;
    const std::size_t wanted = 4 * pool.size();
    const std::size_t cuts =
        row_blocks >= wanted ? 1 : std::min(panels, (wanted + row_blocks - 1) / row_blocks);
    for (std::size_t depth = 0; depth < x.k; depth += kDepth) {
      const std::size_t depths = std::min(kDepth, x.k - depth);
      const bool last = depth + depths == x.k;
      pool.ParallelFor((panels + 3) / 4, [&](std::size_t task, std::size_t /*worker*/) {
        const std::size_t first = task * 4 * tile;
        const std::size_t count = std::min(4 * tile, columns - first);
        PackPanels(kernels, PanelSource(x, b, depth, column + first), x.transpose_b ? x.k : x.n,
                   x.transpose_b, depths, count, packed + first * depths);
      });
      pool.ParallelFor(row_blocks * cuts, [&](std::size_t task, std::size_t /*worker*/) {
        const std::size_t row = task / cuts * kRows;
        const std::size_t cut = task % cuts;
        const std::size_t first = panels * cut / cuts * tile;
        const std::size_t end = std::min(columns, panels * (cut + 1) / cuts * tile);
        GemmBlock block = {};
        block.b = packed + first * depths;
        block.b_k_stride = static_cast<ptrdiff_t>(tile);
        block.b_panel_stride = static_cast<ptrdiff_t>(tile * depths);
        block.m = std::min(kRows, x.m - row);
        block.n = end - first;
        block.k = depths;
        block.bias = last && x.bias != nullptr ? x.bias + column + first : nullptr;
        block.relu = last && x.relu;
        block.accumulate = depth > 0;
        block.c = out + row * x.n + column + first;
        block.c_row_stride = static_cast<ptrdiff_t>(x.n);
        if (SetRows(kernels, x, a, row, depth, &block)) {
          kernels.gemm(block);
        } else {
          enough = false;
        }
      });
    }
  }
  return enough;
}

}  // namespace

Status Matmul(const KernelTable& kernels, const MatmulArguments& given) {
  MatmulArguments x = given;
  if (x.batch == 0 || x.m == 0 || x.n == 0) return Status::Ok();
  // When a batch shares b, its rows are the rows of one taller product.
  if (x.batch > 1 && x.b_batch_stride == 0 && !x.transpose_a && x.a_batch_stride == x.m * x.k) {
    x.m *= x.batch;
    x.batch = 1;
  }
  if (x.k == 0) {
    for (std::size_t row = 0; row < x.batch * x.m; ++row) {
      for (std::size_t c = 0; c < x.n; ++c) {
        const float y = x.bias == nullptr ? 0.0f : x.bias[c];
        x.out[row * x.n + c] = x.relu && y < 0.0f ? 0.0f : y;
      }
    }
    return Status::Ok();
  }
  const std::size_t each = x.m * x.n * x.k;
  ThreadPool& pool = ThreadPool::Shared();
  std::atomic<bool> enough{true};
  const auto one = [&](std::size_t i) {
    if (!MultiplyPart(kernels, x, {0, x.m, 0, x.n}, x.a + i * x.a_batch_stride,
                      x.b + i * x.b_batch_stride, x.out + i * x.m * x.n)) {
      enough = false;
    }
  };
  if (each * x.batch < kParallelWork || pool.size() == 1) {
    for (std::size_t i = 0; i < x.batch; ++i) one(i);
  } else if (x.batch >= 2 * pool.size() || each < kParallelWork) {
    // Whole matrices for each task, several of them when they are small.
    const std::size_t per_task =
        std::max<std::size_t>(1, std::min(x.batch / (4 * pool.size()), kParallelWork / each));
    pool.ParallelFor((x.batch + per_task - 1) / per_task,
                     [&](std::size_t task, std::size_t /*worker*/) {
                       const std::size_t end = std::min(x.batch, (task + 1) * per_task);
                       for (std::size_t i = task * per_task; i < end; ++i) one(i);
                     });
  } else {
    const bool deep = x.k >= 4 * kDepth && x.m <= 4 * kRows;
    const auto multiply = deep ? MultiplyDeep : MultiplyShared;
    for (std::size_t i = 0; i < x.batch; ++i) {
      if (!multiply(kernels, x, x.a + i * x.a_batch_stride, x.b + i * x.b_batch_stride,
                    x.out + i * x.m * x.n)) {
        enough = false;
      }
    }
  }
  return enough ? Status::Ok() : Status::Internal("Out of memory for a packed matrix.");
}

}  // namespace tandem
