// Reference kernels in plain C++, compiled without vectorisation. The other tables are tested
// against them, and they run where no SIMD table does. They are written for clarity; only gemm is
// blocked.

#include <math.h>
#include <string.h>

#include "kernels/dropout_hash.h"
#include "kernels/kernels.h"

namespace tandem {
namespace {

constexpr size_t kColumnTile = 8;
constexpr size_t kReduceBlock = 128;

float MaxOrNan(float a, float b) { return a != a ? a : (b > a || b != b ? b : a); }

void Gemm(const GemmBlock& g) {
  for (size_t panel = 0; panel * kColumnTile < g.n; ++panel) {
    const size_t first = panel * kColumnTile;
    const size_t width = g.n - first < kColumnTile ? g.n - first : kColumnTile;
    const float* b_panel = g.b + static_cast<ptrdiff_t>(panel) * g.b_panel_stride;
    for (size_t row = 0; row < g.m; ++row) {
      const float* a = g.a + static_cast<ptrdiff_t>(row) * g.a_row_stride;
      float sums[kColumnTile] = {};
      for (size_t p = 0; p < g.k; ++p) {
        const float x = a[static_cast<ptrdiff_t>(p) * g.a_k_stride];
        const float* b = b_panel + static_cast<ptrdiff_t>(p) * g.b_k_stride;
        for (size_t c = 0; c < width; ++c) sums[c] += x * b[c];
      }
      float* out =
          g.c + static_cast<ptrdiff_t>(row) * g.c_row_stride + static_cast<ptrdiff_t>(first);
      for (size_t c = 0; c < width; ++c) {
        float y = sums[c];
        if (g.accumulate) y += out[c];
        if (g.bias != nullptr) y += g.bias[first + c];
        if (g.relu && y < 0.0f) y = 0.0f;
        out[c] = y;
      }
    }
  }
}

float Dot(const float* a, const float* b, size_t n) {
  float sum = 0.0f;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void DotBlock(const float* queries, size_t query_stride, size_t query_count, const float* items,
              size_t item_stride, size_t item_count, size_t n, float* scores, size_t score_stride) {
  for (size_t q = 0; q < query_count; ++q) {
    for (size_t i = 0; i < item_count; ++i) {
      scores[q * score_stride + i] = Dot(queries + q * query_stride, items + i * item_stride, n);
    }
  }
}

float FromBf16(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

void ToBf16(const float* a, size_t n, uint16_t* out) {
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    memcpy(&bits, a + i, sizeof(bits));
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    // Adds half of the last kept place, minus one unless that place is odd, so that ties go to
    // even. A quiet NaN stays one.
    out[i] = static_cast<uint16_t>(
        (nan ? bits | 0x400000u : bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
}

void GemmBf16(const Bf16GemmBlock& g) {
  for (size_t row = 0; row < g.m; ++row) {
    const uint16_t* a = g.a + static_cast<ptrdiff_t>(row) * g.a_row_stride;
    float* out = g.c + static_cast<ptrdiff_t>(row) * g.c_row_stride;
    for (size_t c = 0; c < g.n; ++c) {
      const uint16_t* b = g.b + c / kColumnTile * kColumnTile * g.k + c % kColumnTile * 2;
      float y = 0.0f;
      for (size_t p = 0; p < g.k; ++p) {
        y += FromBf16(a[p]) * FromBf16(b[p / 2 * 2 * kColumnTile + p % 2]);
      }
      if (g.accumulate) y += out[c];
      if (g.bias != nullptr) y += g.bias[c];
      if (g.relu && y < 0.0f) y = 0.0f;
      out[c] = y;
    }
  }
}

void ScanCodes(const int8_t* queries, size_t query_count, size_t depth, const uint8_t* codes,
               size_t block_count, int32_t* sums, size_t sum_stride) {
  for (size_t q = 0; q < query_count; ++q) {
    const int8_t* query = queries + q * depth;
    for (size_t i = 0; i < block_count * kCodeBlock; ++i) {
      const uint8_t* block = codes + i / kCodeBlock * kCodeBlock * depth;
      int32_t sum = 0;
      for (size_t d = 0; d < depth; ++d) {
        const size_t group = d / kCodeGroup;
        const size_t at = (group * kCodeBlock + i % kCodeBlock) * kCodeGroup + d % kCodeGroup;
        sum += int32_t{query[d]} * int32_t{block[at]};
      }
      sums[q * sum_stride + i] = sum;
    }
  }
}

size_t SelectAboveInt(const int32_t* sums, size_t n, int32_t threshold, uint32_t* out) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    if (sums[i] > threshold) out[count++] = static_cast<uint32_t>(i);
  }
  return count;
}

size_t SelectAbove(const float* scores, size_t n, float threshold, uint32_t* out) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    if (scores[i] > threshold) out[count++] = static_cast<uint32_t>(i);
  }
  return count;
}

bool AllFinite(const float* a, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    if (!__builtin_isfinite(a[i])) return false;
  }
  return true;
}

void Axpy(float weight, const float* x, size_t n, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] += weight * x[i];
}

void Bag(const float* const* rows, const float* weights, size_t count, size_t n, bool accumulate,
         bool relu, float* out) {
  for (size_t c = 0; c < n; ++c) {
    float y = accumulate ? out[c] : 0.0f;
    for (size_t i = 0; i < count; ++i) y += weights[i] * rows[i][c];
    out[c] = relu && y < 0.0f ? 0.0f : y;
  }
}

float UnaryOne(UnaryOp op, float x) {
  switch (op) {
    case UnaryOp::kRelu:
      return x < 0.0f ? 0.0f : x;
    case UnaryOp::kStep:
      return x > 0.0f ? 1.0f : (x != x ? x : 0.0f);
    case UnaryOp::kExp:
      return __builtin_expf(x);
    case UnaryOp::kLog:
      return __builtin_logf(x);
    case UnaryOp::kSqrt:
      return __builtin_sqrtf(x);
    case UnaryOp::kRsqrt:
      return 1.0f / __builtin_sqrtf(x);
    case UnaryOp::kSquare:
      return x * x;
    case UnaryOp::kNeg:
      return -x;
  }
  return x;
}

void Unary(UnaryOp op, const float* a, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = UnaryOne(op, a[i]);
}

float BinaryOne(BinaryOp op, float a, float b) {
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSub:
      return a - b;
    case BinaryOp::kMul:
      return a * b;
    case BinaryOp::kDiv:
      return a / b;
    case BinaryOp::kMax:
      return MaxOrNan(a, b);
  }
  return a;
}

void Binary(BinaryOp op, BinaryForm form, const float* a, const float* b, size_t n, float* out) {
  const size_t a_step = form == BinaryForm::kScalarA ? 0 : 1;
  const size_t b_step = form == BinaryForm::kScalarB ? 0 : 1;
  for (size_t i = 0; i < n; ++i) out[i] = BinaryOne(op, a[i * a_step], b[i * b_step]);
}

float ReduceRow(ReduceOp op, const float* a, size_t n) {
  if (op == ReduceOp::kMax) {
    float best = -__builtin_inff();
    for (size_t i = 0; i < n; ++i) best = MaxOrNan(best, a[i]);
    return best;
  }
  float total = 0.0f;
  for (size_t first = 0; first < n; first += kReduceBlock) {
    const size_t end = n - first < kReduceBlock ? n : first + kReduceBlock;
    float sum = 0.0f;
    for (size_t i = first; i < end; ++i) sum += a[i];
    total += sum;
  }
  return total;
}

void ReduceColumns(ReduceOp op, const float* a, size_t rows, size_t row_stride, size_t n,
                   float* out) {
  for (size_t c = 0; c < n; ++c) {
    if (op == ReduceOp::kMax) {
      float best = -__builtin_inff();
      for (size_t r = 0; r < rows; ++r) best = MaxOrNan(best, a[r * row_stride + c]);
      out[c] = best;
      continue;
    }
    float total = 0.0f;
    for (size_t first = 0; first < rows; first += kReduceBlock) {
      const size_t end = rows - first < kReduceBlock ? rows : first + kReduceBlock;
      float sum = 0.0f;
      for (size_t r = first; r < end; ++r) sum += a[r * row_stride + c];
      total += sum;
    }
    out[c] = total;
  }
}

void SoftmaxRow(const float* a, size_t n, float* out) {
  const float max = ReduceRow(ReduceOp::kMax, a, n);
  for (size_t i = 0; i < n; ++i) out[i] = __builtin_expf(a[i] - max);
  const float scale = 1.0f / ReduceRow(ReduceOp::kSum, out, n);
  for (size_t i = 0; i < n; ++i) out[i] *= scale;
}

void SoftmaxCausal(float* a, size_t row_stride, size_t rows, size_t first) {
  for (size_t r = 0; r < rows; ++r, a += row_stride) {
    SoftmaxRow(a, first + r + 1, a);
    for (size_t i = first + r + 1; i < first + rows; ++i) a[i] = 0.0f;
  }
}

void Transpose(const float* a, size_t a_stride, size_t rows, size_t columns, float* out,
               size_t out_stride) {
  for (size_t c = 0; c < columns; ++c) {
    for (size_t r = 0; r < rows; ++r) out[c * out_stride + r] = a[r * a_stride + c];
  }
}

void Adam(const AdamStep& s, const float* gradient, size_t n, float* parameter, float* m,
          float* v) {
  for (size_t i = 0; i < n; ++i) {
    const float g = gradient[i];
    m[i] = s.beta1 * m[i] + (1.0f - s.beta1) * g;
    v[i] = s.beta2 * v[i] + (1.0f - s.beta2) * g * g;
    const float denominator = __builtin_sqrtf(v[i] * s.second_correction) + s.epsilon;
    parameter[i] -= s.learning_rate * (m[i] * s.first_correction) / denominator;
  }
}

void LayerNorm(const float* a, size_t a_stride, size_t rows, size_t n, const float* scale,
               const float* offset, float epsilon, float* out, size_t out_stride) {
  const float count = static_cast<float>(n);
  for (size_t r = 0; r < rows; ++r, a += a_stride, out += out_stride) {
    const float mean = ReduceRow(ReduceOp::kSum, a, n) / count;
    float squares = 0.0f;
    for (size_t i = 0; i < n; ++i) squares += (a[i] - mean) * (a[i] - mean);
    const float inverse = 1.0f / __builtin_sqrtf(squares / count + epsilon);
    for (size_t i = 0; i < n; ++i) out[i] = (a[i] - mean) * inverse * scale[i] + offset[i];
  }
}

void LayerNormBackward(const float* a, const float* dy, size_t rows, size_t n, const float* scale,
                       float epsilon, float* da, float* dscale, float* doffset) {
  const float count = static_cast<float>(n);
  for (size_t r = 0; r < rows; ++r, a += n, dy += n, da += n) {
    const float mean = ReduceRow(ReduceOp::kSum, a, n) / count;
    float squares = 0.0f;
    for (size_t i = 0; i < n; ++i) squares += (a[i] - mean) * (a[i] - mean);
    const float inverse = 1.0f / __builtin_sqrtf(squares / count + epsilon);
    float sum = 0.0f;
    float product = 0.0f;
    for (size_t i = 0; i < n; ++i) {
      const float unit = (a[i] - mean) * inverse;
      dscale[i] += dy[i] * unit;
      doffset[i] += dy[i];
      sum += dy[i] * scale[i];
      product += dy[i] * scale[i] * unit;
    }
    for (size_t i = 0; i < n; ++i) {
      const float unit = (a[i] - mean) * inverse;
      da[i] = inverse * (dy[i] * scale[i] - sum / count - unit * (product / count));
    }
  }
}

void Dropout(uint32_t seed, uint32_t first, uint32_t threshold, float scale, const float* a,
             size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const uint32_t hash = DropoutHash(seed, first + static_cast<uint32_t>(i));
    out[i] = hash < threshold ? 0.0f : a[i] * scale;
  }
}

constexpr KernelTable Table() {
  KernelTable table = {};
  table.isa = "scalar";
  table.column_tile = kColumnTile;
  table.gemm = Gemm;
  table.dot = Dot;
  table.dot_block = DotBlock;
  table.to_bf16 = ToBf16;
  table.gemm_bf16 = GemmBf16;
  table.scan_codes = ScanCodes;
  table.select_above_int = SelectAboveInt;
  table.select_above = SelectAbove;
  table.all_finite = AllFinite;
  table.axpy = Axpy;
  table.bag = Bag;
  table.unary = Unary;
  table.binary = Binary;
  table.reduce_row = ReduceRow;
  table.reduce_columns = ReduceColumns;
  table.softmax_row = SoftmaxRow;
  table.softmax_causal = SoftmaxCausal;
  table.layer_norm = LayerNorm;
  table.layer_norm_backward = LayerNormBackward;
  table.dropout = Dropout;
  table.transpose = Transpose;
  table.adam = Adam;
  return table;
}

constexpr KernelTable kTable = Table();

}  // namespace

const KernelTable& ScalarKernels() noexcept { return kTable; }

}  // namespace tandem
