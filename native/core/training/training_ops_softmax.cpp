// The log-sum-exp of all scores of a query, and its gradient, from which softmax losses are made.
// Scores exist in blocks: the forward pass keeps one number for each query, and the backward pass
// computes the scores again.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <vector>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/gemm.h"
#include "core/runtime/thread_pool.h"
#include "core/training/training_ops.h"

namespace tandem {
namespace {

/// A block of scores is kRows x kColumns floats, 192 KiB: it stays in L2 between its products. Both
/// are multiples of every tile.
constexpr std::size_t kRows = 96;
constexpr std::size_t kColumns = 512;
/// Not kColumns: the columns of a block would share one set of the cache.
constexpr std::size_t kStride = kColumns + 16;
/// The longer axis is cut into at most this many parts, which are summed separately in the backward
/// pass, and their sums may take this many floats.
constexpr std::size_t kMaxParts = 16;
constexpr std::size_t kMaxPartial = std::size_t{1} << 26;
/// Elements of a task when partial sums are added.
constexpr std::size_t kChunk = 16384;
/// Finite, so that a block whose scores are all masked does not give NaN; exp of it minus any score
/// is 0.
constexpr float kMasked = std::numeric_limits<float>::lowest();

Status OutOfMemory() { return Status::Internal("Out of memory for the scores of a loss."); }

std::size_t Blocks(std::size_t size, std::size_t block) { return (size + block - 1) / block; }

AlignedBuffer& ThreadScores() {
  thread_local AlignedBuffer scores;
  return scores;
}

/// Finds pairs by their row.
class PairsOfRows {
 public:
  bool Prepare(const ScorePairs& pairs, std::size_t rows) {
    pairs_ = pairs;
    try {
      begin_.assign(rows + 1, 0);
    } catch (const std::bad_alloc&) {
      return false;
    }
    for (std::size_t i = 0; i < pairs.count; ++i) {
      ++begin_[static_cast<std::size_t>(pairs.rows[i]) + 1];
    }
    for (std::size_t row = 0; row < rows; ++row) begin_[row + 1] += begin_[row];
    return true;
  }

  /// Calls visit(pair, its column - column) for the pairs of `row` in [column, column + columns).
  template <typename Visit>
  void ForEach(std::size_t row, std::size_t column, std::size_t columns, const Visit& visit) const {
    for (std::size_t i = begin_[row]; i < begin_[row + 1]; ++i) {
      const std::size_t at = static_cast<std::size_t>(pairs_.columns[i]);
      if (at >= column && at < column + columns) visit(i, at - column);
    }
  }

 private:
  ScorePairs pairs_ = {};
  std::vector<std::size_t> begin_;
};

/// What both passes share: the candidates, packed for the product, and the pairs of each row.
class Scores {
 public:
  Scores(const KernelTable& kernels, const ScoreShape& shape, const float* queries)
      : kernels_(kernels), shape_(shape), queries_(queries), panels_(CallerPanels()) {}

  bool Prepare(const float* candidates) {
    const std::size_t d = shape_.width;
    if (!panels_.Reserve(PackedSize(kernels_, d, shape_.candidates))) return false;
    ThreadPool::Shared().ParallelFor(
        Blocks(shape_.candidates, kColumns), [&](std::size_t block, std::size_t /*worker*/) {
          const std::size_t first = block * kColumns;
          PackPanels(kernels_, candidates + first * d, d, true, d,
                     std::min(kColumns, shape_.candidates - first), panels_.data() + first * d);
        });
    return masked_.Prepare(shape_.masked, shape_.queries) &&
           boosted_.Prepare(shape_.boosted, shape_.queries);
  }

  const PairsOfRows& boosted() const { return boosted_; }

  /// Computes the scores of queries [row, row + rows) with candidates [column, column + columns),
  /// rows kStride apart. `column` is a multiple of kColumns.
  void Compute(std::size_t row, std::size_t rows, std::size_t column, std::size_t columns,
               float* scores) const {
    const std::size_t d = shape_.width;
    const ptrdiff_t tile = static_cast<ptrdiff_t>(kernels_.column_tile);
    GemmBlock g = {};
    g.a = queries_ + row * d;
    g.a_row_stride = static_cast<ptrdiff_t>(d);
    g.a_k_stride = 1;
    g.b = panels_.data() + column * d;
    g.b_k_stride = tile;
    g.b_panel_stride = tile * static_cast<ptrdiff_t>(d);
    g.m = rows;
    g.n = columns;
    g.k = d;
    g.bias = shape_.bias == nullptr ? nullptr : shape_.bias + column;
    g.c = scores;
    g.c_row_stride = static_cast<ptrdiff_t>(kStride);
    kernels_.gemm(g);
    for (std::size_t r = 0; r < rows; ++r) {
      float* const s = scores + r * kStride;
      boosted_.ForEach(row + r, column, columns,
                       [&](std::size_t pair, std::size_t at) { s[at] += shape_.boosts[pair]; });
      masked_.ForEach(row + r, column, columns,
                      [&](std::size_t /*pair*/, std::size_t at) { s[at] = kMasked; });
    }
  }

 private:
  static AlignedBuffer& CallerPanels() {
    thread_local AlignedBuffer panels;
    return panels;
  }

  const KernelTable& kernels_;
  const ScoreShape& shape_;
  const float* queries_;
  AlignedBuffer& panels_;
  PairsOfRows masked_;
  PairsOfRows boosted_;
};

/// Blocks [first_row, end_row) of queries and [first_column, end_column) of candidates, whose
/// gradients one task sums.
struct Part {
  std::size_t first_row;
  std::size_t end_row;
  std::size_t first_column;
  std::size_t end_column;
};

/// What the backward pass reads, and the gradient that all parts write.
struct BackwardArrays {
  const float* queries;
  const float* candidates;
  const float* log_sums;
  const float* dy;
  float* dboosts;
};

/// dqueries and dcandidates (+)= gradients of one part; its first blocks overwrite. dcandidates may
/// be null. `block` is scratch for kRows x kStride scores.
void AddGradients(const KernelTable& kernels, const ScoreShape& shape, const Scores& scores,
                  const BackwardArrays& x, const Part& part, float* block, float* dqueries,
                  float* dcandidates) {
  const std::size_t d = shape.width;
  const ptrdiff_t row_stride = static_cast<ptrdiff_t>(d);
  for (std::size_t c = part.first_column; c < part.end_column; ++c) {
    const std::size_t column = c * kColumns;
    const std::size_t columns = std::min(kColumns, shape.candidates - column);
    for (std::size_t r = part.first_row; r < part.end_row; ++r) {
      const std::size_t row = r * kRows;
      const std::size_t rows = std::min(kRows, shape.queries - row);
      scores.Compute(row, rows, column, columns, block);
      for (std::size_t i = 0; i < rows; ++i) {
        float* const s = block + i * kStride;
        kernels.binary(BinaryOp::kSub, BinaryForm::kScalarB, s, x.log_sums + row + i, columns, s);
        kernels.unary(UnaryOp::kExp, s, columns, s);
        kernels.binary(BinaryOp::kMul, BinaryForm::kScalarB, s, x.dy + row + i, columns, s);
        // A pair lies in one block, so no other task writes its gradient.
        scores.boosted().ForEach(row + i, column, columns, [&](std::size_t pair, std::size_t at) {
          x.dboosts[pair] = s[at];
        });
      }
      GemmBlock g = {};
      g.a = block;
      g.a_row_stride = static_cast<ptrdiff_t>(kStride);
      g.a_k_stride = 1;
      g.b = x.candidates + column * d;
      g.b_k_stride = row_stride;
      g.b_panel_stride = static_cast<ptrdiff_t>(kernels.column_tile);
      g.m = rows;
      g.n = d;
      g.k = columns;
      g.accumulate = c > part.first_column;
      g.c = dqueries + row * d;
      g.c_row_stride = row_stride;
      kernels.gemm(g);
      if (dcandidates == nullptr) continue;
      g.a_row_stride = 1;
      g.a_k_stride = static_cast<ptrdiff_t>(kStride);
      g.b = x.queries + row * d;
      g.m = columns;
      g.k = rows;
      g.accumulate = r > part.first_row;
      g.c = dcandidates + column * d;
      kernels.gemm(g);
    }
  }
}

}  // namespace

Status LogSumExpScores(const KernelTable& kernels, const ScoreShape& shape, const float* queries,
                       const float* candidates, float* out) {
  Scores scores(kernels, shape, queries);
  if (!scores.Prepare(candidates)) return OutOfMemory();
  std::atomic<bool> enough{true};
  const auto rows_of = [&](std::size_t block, std::size_t /*worker*/) {
    AlignedBuffer& scratch = ThreadScores();
    if (!scratch.Reserve(kRows * kStride)) {
      enough = false;
      return;
    }
    const std::size_t row = block * kRows;
    const std::size_t rows = std::min(kRows, shape.queries - row);
    float largest[kRows];
    float sums[kRows] = {};
    std::fill_n(largest, rows, -std::numeric_limits<float>::infinity());
    for (std::size_t column = 0; column < shape.candidates; column += kColumns) {
      const std::size_t columns = std::min(kColumns, shape.candidates - column);
      scores.Compute(row, rows, column, columns, scratch.data());
      for (std::size_t r = 0; r < rows; ++r) {
        float* const s = scratch.data() + r * kStride;
        const float max = kernels.reduce_row(ReduceOp::kMax, s, columns);
        if (max > largest[r]) {
          sums[r] *= std::exp(largest[r] - max);
          largest[r] = max;
        }
        kernels.binary(BinaryOp::kSub, BinaryForm::kScalarB, s, &largest[r], columns, s);
        kernels.unary(UnaryOp::kExp, s, columns, s);
        sums[r] += kernels.reduce_row(ReduceOp::kSum, s, columns);
      }
    }
    for (std::size_t r = 0; r < rows; ++r) out[row + r] = largest[r] + std::log(sums[r]);
  };
  ThreadPool::Shared().ParallelFor(Blocks(shape.queries, kRows), rows_of);
  return enough ? Status::Ok() : OutOfMemory();
}

Status LogSumExpScoresBackward(const KernelTable& kernels, const ScoreShape& shape,
                               const float* queries, const float* candidates, const float* log_sums,
                               const float* dy, float* dqueries, float* dboosts,
                               float* dcandidates) {
  Scores scores(kernels, shape, queries);
  if (!scores.Prepare(candidates)) return OutOfMemory();
  const std::size_t d = shape.width;
  const std::size_t row_blocks = Blocks(shape.queries, kRows);
  const std::size_t column_blocks = Blocks(shape.candidates, kColumns);

  // The longer axis is cut into parts. A part owns its share of that axis' gradient, and sums a
  // gradient of its own for the other axis unless that is a constant.
  const bool constant = dcandidates == nullptr;
  const BackwardArrays arrays = {queries, candidates, log_sums, dy, dboosts};
  const bool by_rows = shape.queries >= shape.candidates;
  const std::size_t shared = by_rows ? (constant ? 0 : shape.candidates * d) : shape.queries * d;
  const std::size_t parts =
      std::max<std::size_t>(1, std::min({kMaxParts, by_rows ? row_blocks : column_blocks,
                                         kMaxPartial / std::max<std::size_t>(1, shared)}));
  AlignedBuffer partial;
  if (!partial.Reserve(parts * shared)) return OutOfMemory();

  std::atomic<bool> enough{true};
  ThreadPool::Shared().ParallelFor(parts, [&](std::size_t task, std::size_t /*worker*/) {
    AlignedBuffer& scratch = ThreadScores();
    if (!scratch.Reserve(kRows * kStride)) {
      enough = false;
      return;
    }
    float* const own = partial.data() + task * shared;
    Part part = {0, row_blocks, 0, column_blocks};
    const std::size_t cut = by_rows ? row_blocks : column_blocks;
    (by_rows ? part.first_row : part.first_column) = cut * task / parts;
    (by_rows ? part.end_row : part.end_column) = cut * (task + 1) / parts;
    float* const to_candidates = constant ? nullptr : by_rows ? own : dcandidates;
    AddGradients(kernels, shape, scores, arrays, part, scratch.data(), by_rows ? dqueries : own,
                 to_candidates);
  });
  if (!enough) return OutOfMemory();
  ThreadPool::Shared().ParallelFor(
      Blocks(shared, kChunk), [&](std::size_t task, std::size_t /*worker*/) {
        const std::size_t first = task * kChunk;
        kernels.reduce_columns(ReduceOp::kSum, partial.data() + first, parts, shared,
                               std::min(kChunk, shared - first),
                               (by_rows ? dcandidates : dqueries) + first);
      });
  return Status::Ok();
}

}  // namespace tandem
