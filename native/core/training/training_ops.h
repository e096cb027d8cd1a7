// Fused operations of a training step, forward and backward, over contiguous f32 arrays. Nothing is
// checked here: addon/ has checked the arguments.
//
// Work is cut by shapes alone, never by the number of threads, and partial sums are added in the
// order of the cuts. So a result depends only on its inputs and the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/runtime/status.h"
#include "kernels/kernels.h"

namespace tandem {

/// Normalises each row of a [rows, n] to mean 0 and variance 1, then scales and shifts it; scale,
/// offset [n].
void LayerNorm(const KernelTable& kernels, const float* a, std::size_t rows, std::size_t n,
               const float* scale, const float* offset, float epsilon, float* out);

/// Gradients of LayerNorm along dy [rows, n]: da [rows, n], dscale and doffset [n], overwritten in
/// full. Mean and deviation are computed again: the row is in cache by then, and keeping two
/// numbers a row would take two more tensors.
Status LayerNormBackward(const KernelTable& kernels, const float* a, const float* dy,
                         std::size_t rows, std::size_t n, const float* scale, float epsilon,
                         float* da, float* dscale, float* doffset);

/// out[i] = 0 for a share of `threshold` / 2^32 of the elements, and a[i] * scale for the others.
/// Seed and i determine which.
void Dropout(const KernelTable& kernels, std::uint32_t seed, std::uint32_t threshold, float scale,
             const float* a, std::size_t n, float* out);

/// out[i] = dy[i] where y[i] > 0, else 0: the gradient before a relu whose output is y.
void ReluBackward(const float* y, const float* dy, std::size_t n, float* out);

/// Histories one after the other: rows [offsets[b], offsets[b + 1]) of an [offsets[B], D] array
/// belong to user b.
struct AttentionShape {
  std::size_t batch;
  /// Divides width.
  std::size_t heads;
  /// D.
  std::size_t width;
  /// [B + 1], ascending from 0.
  const std::int32_t* offsets;
};

/// Multi-head attention in which a row sees itself and the earlier rows of its user. q, k, v, out
/// [offsets[B], D].
Status CausalAttention(const KernelTable& kernels, const AttentionShape& shape, const float* q,
                       const float* k, const float* v, float* out);

/// Gradients of CausalAttention along dy [offsets[B], D]. The weights are computed again, which
/// takes a fifth of the multiplications here. Keeping them would move heads T^2 floats a user to
/// memory and back.
Status CausalAttentionBackward(const KernelTable& kernels, const AttentionShape& shape,
                               const float* q, const float* k, const float* v, const float* dy,
                               float* dq, float* dk, float* dv);

/// Pairs (rows[i], columns[i]) of a query and a candidate. Rows ascend.
struct ScorePairs {
  const std::int32_t* rows;
  const std::int32_t* columns;
  std::size_t count;
};

/// Scores of every query with every candidate: score[e, c] = q_e . v_c + bias[c] + the boosts of
/// the pair, without the masked pairs.
struct ScoreShape {
  /// E.
  std::size_t queries;
  /// C.
  std::size_t candidates;
  /// D.
  std::size_t width;
  /// [C] or null.
  const float* bias;
  /// Pairs that are left out.
  ScorePairs masked;
  /// Pairs to whose score boosts[i] is added.
  ScorePairs boosted;
  const float* boosts;
};

/// out[e] = ln sum over c of exp(score[e, c]), [E]. Scores exist in blocks that fit L2, never as a
/// whole [E, C].
Status LogSumExpScores(const KernelTable& kernels, const ScoreShape& shape, const float* queries,
                       const float* candidates, float* out);

/// Gradients of LogSumExpScores along dy [E], where `log_sums` is its result: dqueries [E, D],
/// dboosts [boosted.count] and dcandidates [C, D]. dcandidates may be null when candidates are
/// constants, which saves one of the three products.
Status LogSumExpScoresBackward(const KernelTable& kernels, const ScoreShape& shape,
                               const float* queries, const float* candidates, const float* log_sums,
                               const float* dy, float* dqueries, float* dboosts,
                               float* dcandidates);

}  // namespace tandem
