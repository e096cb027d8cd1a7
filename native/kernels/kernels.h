// The table of leaf functions that each instruction set provides, and their contract.
//
// Contract of every entry: pointers may have any alignment; outputs come last; sizes are in
// elements; outputs may not overlap inputs unless the entry says so; nothing is allocated or
// thrown; tails are masked, so nothing past the last element is touched.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tandem {

enum class UnaryOp : uint32_t { kRelu, kStep, kExp, kLog, kSqrt, kRsqrt, kSquare, kNeg };
enum class BinaryOp : uint32_t { kAdd, kSub, kMul, kDiv, kMax };
enum class ReduceOp : uint32_t { kSum, kMax };

/// Which operand of a binary operation is a single scalar.
enum class BinaryForm : uint32_t { kBoth, kScalarA, kScalarB };

/// One block product c = a b (+ c) (+ bias) (then relu). a [m, k] and b [k, n] are addressed by
/// strides in elements.
struct GemmBlock {
  const float* a;
  ptrdiff_t a_row_stride;
  ptrdiff_t a_k_stride;
  /// Panel j holds columns [j * column_tile, ...). Its element (p, c) is at b + j * b_panel_stride
  /// + p * b_k_stride + c. For an unpacked row-major b, b_k_stride is its row stride and
  /// b_panel_stride is column_tile.
  const float* b;
  ptrdiff_t b_k_stride;
  ptrdiff_t b_panel_stride;
  size_t m;
  size_t n;
  size_t k;
  /// [n] or null.
  const float* bias;
  /// Adds to the contents of c instead of overwriting them.
  bool accumulate;
  bool relu;
  float* c;
  ptrdiff_t c_row_stride;
};

/// One block product c = a b (+ c) (+ bias) (then relu) over bf16 operands, accumulated in f32.
/// Each instruction set has its own order of a sum, so two of them differ by the rounding of 2 k
/// additions. The order depends on k alone, so a result depends neither on m nor on how callers
/// split rows. Values below FLT_MIN may count as 0.
struct Bf16GemmBlock {
  /// [m, k], rows `a_row_stride` elements apart. k is even; pad with zeros.
  const uint16_t* a;
  ptrdiff_t a_row_stride;
  /// Panel j holds columns [j * column_tile, ...) as k / 2 lines of column_tile pairs (b[2 p, c],
  /// b[2 p + 1, c]), padded with zeros. Panels are k * column_tile elements apart and 64-byte
  /// aligned.
  const uint16_t* b;
  size_t m;
  size_t n;
  size_t k;
  const float* bias;
  bool accumulate;
  bool relu;
  float* c;
  ptrdiff_t c_row_stride;
};

/// Items in one block of codes.
constexpr size_t kCodeBlock = 16;
/// Components of a code that lie side by side in a block.
constexpr size_t kCodeGroup = 4;
/// Largest magnitude of a component of a quantised query: the sum of two products with a code of
/// 255 still fits 16 bits.
constexpr int kMaxQueryCode = 64;

/// Constants of one Adam step, shared by every parameter.
struct AdamStep {
  float beta1;
  float beta2;
  /// 1 / (1 - beta^step), computed in double by the caller.
  float first_correction;
  float second_correction;
  float learning_rate;
  float epsilon;
};

struct KernelTable {
  const char* isa;
  /// Columns of a packed panel of b. Weights that are packed for one table serve that table alone.
  size_t column_tile;

  /// Each output is summed over k in order, so a result depends neither on m nor on how callers
  /// split rows.
  void (*gemm)(const GemmBlock& block);

  /// Inner product of a [n] and b [n]. The order of the sum is that of dot_block, so the two agree
  /// to the last bit.
  float (*dot)(const float* a, const float* b, size_t n);

  /// scores[q * score_stride + i] = dot(query q, item i); rows are `query_stride` and `item_stride`
  /// apart.
  void (*dot_block)(const float* queries, size_t query_stride, size_t query_count,
                    const float* items, size_t item_stride, size_t item_count, size_t n,
                    float* scores, size_t score_stride);

  /// out[i] = a[i] rounded to bf16, to nearest, ties to even. NaN stays NaN. a [n].
  void (*to_bf16)(const float* a, size_t n, uint16_t* out);

  void (*gemm_bf16)(const Bf16GemmBlock& block);

  /// Exact integer inner products of quantised queries with unsigned codes, the same on every
  /// instruction set: sums[q * sum_stride + i] = sum over d of codes(i, d) * queries[q * depth +
  /// d], for i < block_count * kCodeBlock.
  ///
  /// queries  [query_count, depth] in [-kMaxQueryCode, kMaxQueryCode]; depth is a multiple of
  ///   kCodeGroup, at most 8192.
  /// codes    64-byte aligned blocks of kCodeBlock items, each [depth / kCodeGroup, kCodeBlock,
  ///   kCodeGroup].
  void (*scan_codes)(const int8_t* queries, size_t query_count, size_t depth, const uint8_t* codes,
                     size_t block_count, int32_t* sums, size_t sum_stride);

  /// select_above over integers.
  size_t (*select_above_int)(const int32_t* sums, size_t n, int32_t threshold, uint32_t* out);

  /// Writes the positions of scores > threshold in ascending order, and returns how many there are.
  /// out has room for n.
  size_t (*select_above)(const float* scores, size_t n, float threshold, uint32_t* out);

  /// Returns whether every element of a [n] is finite.
  bool (*all_finite)(const float* a, size_t n);

  /// y += weight * x, x and y [n].
  void (*axpy)(float weight, const float* x, size_t n, float* y);

  /// out = (out +) sum over i of weights[i] * rows[i], in order of i (then relu). Each of the
  /// `count` rows has n elements.
  void (*bag)(const float* const* rows, const float* weights, size_t count, size_t n,
              bool accumulate, bool relu, float* out);

  /// out may be a. exp is within 2 ulp of the correctly rounded value, also for results below
  /// FLT_MIN.
  void (*unary)(UnaryOp op, const float* a, size_t n, float* out);

  /// out may be a or b. max gives NaN when either operand is NaN.
  void (*binary)(BinaryOp op, BinaryForm form, const float* a, const float* b, size_t n,
                 float* out);

  /// Sum or max of a [n]. The max of nothing is -Inf, and NaN when any element is NaN.
  float (*reduce_row)(ReduceOp op, const float* a, size_t n);

  /// out[c] = reduction over the rows of a [rows, n], rows `row_stride` apart. Sums run in blocks
  /// of 128 rows, so that the rounding error grows with rows / 128 instead of rows.
  void (*reduce_columns)(ReduceOp op, const float* a, size_t rows, size_t row_stride, size_t n,
                         float* out);

  /// Softmax of one row, exp(a - max) / sum. out may be a.
  void (*softmax_row)(const float* a, size_t n, float* out);

  /// Turns scores of causal attention into weights, in place. Row r of a [rows, first + rows] sees
  /// first + r + 1 columns: it becomes their softmax, followed by zeros. NaN or +Inf anywhere in a
  /// row may turn the whole row into NaN.
  void (*softmax_causal)(float* a, size_t row_stride, size_t rows, size_t first);

  /// out[c * out_stride + r] = a[r * a_stride + c] for a [rows, columns].
  void (*transpose)(const float* a, size_t a_stride, size_t rows, size_t columns, float* out,
                    size_t out_stride);

  /// m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= lr mhat / (sqrt(vhat) +
  /// epsilon). All arrays have n elements.
  void (*adam)(const AdamStep& step, const float* gradient, size_t n, float* parameter, float* m,
               float* v);

  /// Normalises the rows of a [rows, n], `a_stride` apart, to mean 0 and variance 1, then scales
  /// and shifts them: out[r] = (a[r] - mean) / sqrt(mean of (a[r] - mean)^2 + epsilon) * scale +
  /// offset. scale and offset have n elements. out may be a.
  void (*layer_norm)(const float* a, size_t a_stride, size_t rows, size_t n, const float* scale,
                     const float* offset, float epsilon, float* out, size_t out_stride);

  /// Gradient of layer_norm over a and dy [rows, n]. Writes da in full, and adds the rows in order
  /// to dscale and doffset [n].
  void (*layer_norm_backward)(const float* a, const float* dy, size_t rows, size_t n,
                              const float* scale, float epsilon, float* da, float* dscale,
                              float* doffset);

  /// out[i] = 0 where DropoutHash(seed, first + i) < threshold, else a[i] * scale. The bits are the
  /// same on every instruction set. out may be a.
  void (*dropout)(uint32_t seed, uint32_t first, uint32_t threshold, float scale, const float* a,
                  size_t n, float* out);
};

const KernelTable& ScalarKernels() noexcept;
const KernelTable& Avx2Kernels() noexcept;
const KernelTable& Avx512Kernels() noexcept;
const KernelTable& NeonKernels() noexcept;

// Optional extensions replace single entries of the table that they overlay. The table keeps its
// name, except under the AMX overlay. dispatch.cpp calls these functions once, before any other
// thread may see the table.
void OverlayAvx512Vnni(KernelTable* table) noexcept;
void OverlayAvx512Bf16(KernelTable* table) noexcept;
void OverlayAmx(KernelTable* table) noexcept;
void OverlayNeonDotprod(KernelTable* table) noexcept;

}  // namespace tandem
