// Operations of the `native` tfjs backend over contiguous f32 arrays. Nothing is checked here:
// addon/ has checked the arguments.
//
// Work is split over the shared thread pool along outputs only, so results do not depend on the
// number of threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/runtime/status.h"
#include "kernels/kernels.h"

namespace tandem {

constexpr std::size_t kMaxRank = 6;

struct MatmulArguments {
  const float* a;
  const float* b;
  float* out;
  std::size_t batch;
  std::size_t m;
  std::size_t n;
  std::size_t k;
  bool transpose_a;
  bool transpose_b;
  /// In elements; 0 repeats one matrix.
  std::size_t a_batch_stride;
  std::size_t b_batch_stride;
  /// [n] or null.
  const float* bias;
  bool relu;
};

/// out[i] = op(a[i]) op(b[i]) (+ bias) (then relu); a is [m, k] ([k, m] transposed), b [k, n] ([n,
/// k] transposed).
Status Matmul(const KernelTable& kernels, const MatmulArguments& arguments);

struct BroadcastShape {
  std::size_t rank = 0;
  std::array<std::size_t, kMaxRank> sizes{};
  /// In elements; 0 when the operand is broadcast along an axis.
  std::array<std::size_t, kMaxRank> a_strides{};
  std::array<std::size_t, kMaxRank> b_strides{};
};

/// Applies `op` to two broadcast operands. out is contiguous in `shape`.
void BroadcastBinary(const KernelTable& kernels, BinaryOp op, const float* a, const float* b,
                     const BroadcastShape& shape, float* out);

void ElementwiseUnary(const KernelTable& kernels, UnaryOp op, const float* a, std::size_t n,
                      float* out);

/// Reduces a [outer, axis, inner] to out [outer, inner].
void Reduce(const KernelTable& kernels, ReduceOp op, const float* a, std::size_t outer,
            std::size_t axis, std::size_t inner, float* out);

/// Softmax of each row of a [rows, columns].
void Softmax(const KernelTable& kernels, const float* a, std::size_t rows, std::size_t columns,
             float* out);

/// Transposes as tf.transpose does: axis d of out has the size sizes[permutation[d]].
void TransposeTensor(const KernelTable& kernels, const float* a, std::size_t rank,
                     const std::size_t* sizes, const std::size_t* permutation, float* out);

/// Copies `rows` runs of `run` elements, which begin `from_stride` apart in `from` and `to_stride`
/// apart in `to`.
void CopyRows(const float* from, std::size_t from_stride, std::size_t rows, std::size_t run,
              float* to, std::size_t to_stride);

/// out[i] = table[indices[i]]; OutOfRange names the position of a bad index.
Status GatherRows(const float* table, std::size_t table_rows, const std::int32_t* indices,
                  std::size_t count, std::size_t row_width, float* out);

/// out = 0, then out[indices[i]] += source[i] in order of i; a negative index is skipped.
Status ScatterAddRows(const KernelTable& kernels, const float* source, const std::int32_t* indices,
                      std::size_t count, std::size_t row_width, std::size_t out_rows, float* out);

/// One step of Adam, in place on parameter, m and v, all [n].
void AdamUpdate(const KernelTable& kernels, const AdamStep& step, const float* gradient,
                std::size_t n, float* parameter, float* m, float* v);

/// AdamUpdate on the named rows only ("lazy"): row i of gradient [count, width] belongs to rows[i]
/// of parameter, m and v [table_rows, width]. Other rows keep their values and moments. OutOfRange
/// names a row that is outside the table or named twice.
Status AdamUpdateRows(const KernelTable& kernels, const AdamStep& step, const float* gradient,
                      const std::int32_t* rows, std::size_t count, std::size_t width,
                      std::size_t table_rows, float* parameter, float* m, float* v);

}  // namespace tandem
