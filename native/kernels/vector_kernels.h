// f32 kernel bodies shared by the SIMD instruction sets, written over a register type V that each of them defines.
//
// V lives in an anonymous namespace, so every instance of VectorKernels<V> has internal linkage: no weak symbol compiled
// with AVX-512 can be picked by the linker for an older CPU. Keep every function inside the template.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/dropout_hash.h"
#include "kernels/kernels.h"
#include "kernels/quantised_kernels.h"

namespace tandem {

/// V provides kLanes, kRowTile, F (register), Mask, and the operations used below.
template <class V>
struct VectorKernels {
  using F = typename V::F;
  using Mask = typename V::Mask;
  static constexpr size_t kLanes = V::kLanes;
  /// Two registers wide: with kRowTile rows the accumulators fill the register file but for two b and one a.
  static constexpr size_t kColumnTile = 2 * kLanes;
  static constexpr size_t kReduceBlock = 128;

  // ---- gemm ----

  /// R rows by P panels of outputs held in registers over the whole of k; `columns` are those of the last panel.
  template <int R, int P, bool kMasked>
  static void Tile(const GemmBlock& g, size_t row, size_t column, size_t columns) {
    constexpr int kVectors = 2 * P;
    const Mask mask0 = V::TailMask(columns < kLanes ? columns : kLanes);
    const Mask mask1 = V::TailMask(columns < kLanes ? 0 : columns - kLanes);
    F sums[R][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = V::Zero();
    }
    const float* a = g.a + static_cast<ptrdiff_t>(row) * g.a_row_stride;
    const float* b = g.b + static_cast<ptrdiff_t>(column / kColumnTile) * g.b_panel_stride;
    const ptrdiff_t a_row_stride = g.a_row_stride;
    const ptrdiff_t a_k_stride = g.a_k_stride;
    const ptrdiff_t b_k_stride = g.b_k_stride;
    const ptrdiff_t b_panel_stride = g.b_panel_stride;
    for (size_t p = 0; p < g.k; ++p) {
      F columns_b[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const float* address = b + (v / 2) * b_panel_stride + (v % 2) * static_cast<int>(kLanes);
        columns_b[v] = kMasked && v >= kVectors - 2
                           ? V::MaskLoad(address, v % 2 == 0 ? mask0 : mask1)
                           : V::Load(address);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F x = V::Set1(a[r * a_row_stride]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sums[r][v] = V::Fma(x, columns_b[v], sums[r][v]);
      }
      a += a_k_stride;
      b += b_k_stride;
    }
    float* c = g.c + static_cast<ptrdiff_t>(row) * g.c_row_stride + static_cast<ptrdiff_t>(column);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const bool masked = kMasked && v >= kVectors - 2;
        const Mask mask = v % 2 == 0 ? mask0 : mask1;
        const ptrdiff_t offset = v * static_cast<ptrdiff_t>(kLanes);
        float* address = c + r * g.c_row_stride + offset;
        F y = sums[r][v];
        if (g.accumulate) {
          y = V::Add(y, masked ? V::MaskLoad(address, mask) : V::Load(address));
        }
        if (g.bias != nullptr) {
          const float* bias = g.bias + column + offset;
          y = V::Add(y, masked ? V::MaskLoad(bias, mask) : V::Load(bias));
        }
        if (g.relu) y = V::Relu(y);
        if (masked) {
          V::MaskStore(address, mask, y);
        } else {
          V::Store(address, y);
        }
      }
    }
  }

  template <int R, int P>
  static void TileOf(const GemmBlock& g, size_t row, size_t column, size_t columns) {
    if (columns == kColumnTile) {
      Tile<R, P, false>(g, row, column, columns);
    } else {
      Tile<R, P, true>(g, row, column, columns);
    }
  }

  /// Few rows leave accumulators free, so they take several panels at once; the FMA latency needs 8 chains in flight.
  template <int P>
  static void Rows(const GemmBlock& g, size_t row, size_t rows, size_t column, size_t columns) {
    if constexpr (P == 4) {
      TileOf<1, 4>(g, row, column, columns);
    } else if constexpr (P == 2) {
      switch (rows) {
        case 1:
          return TileOf<1, 2>(g, row, column, columns);
        case 2:
          return TileOf<2, 2>(g, row, column, columns);
        default:
          return TileOf<3, 2>(g, row, column, columns);
      }
    } else {
      switch (rows) {
        case 1:
          return TileOf<1, 1>(g, row, column, columns);
        case 2:
          return TileOf<2, 1>(g, row, column, columns);
        case 3:
          return TileOf<3, 1>(g, row, column, columns);
        case 4:
          return TileOf<4, 1>(g, row, column, columns);
        case 5:
          return TileOf<5, 1>(g, row, column, columns);
        case 6:
          return TileOf<6, 1>(g, row, column, columns);
        default:
          break;
      }
      if constexpr (V::kRowTile > 6) {
        switch (rows) {
          case 7:
            return TileOf<7, 1>(g, row, column, columns);
          case 8:
            return TileOf<8, 1>(g, row, column, columns);
          case 9:
            return TileOf<9, 1>(g, row, column, columns);
          case 10:
            return TileOf<10, 1>(g, row, column, columns);
          case 11:
            return TileOf<11, 1>(g, row, column, columns);
          default:
            return TileOf<12, 1>(g, row, column, columns);
        }
      }
    }
  }

  static void Gemm(const GemmBlock& g) {
    // Rows split into groups of nearly equal height: 32 rows as 6 6 5 5 5 5 keep the pipes fuller than 6 6 6 6 6 2.
    const size_t groups = (g.m + V::kRowTile - 1) / V::kRowTile;
    size_t column = 0;
    while (column < g.n) {
      const size_t left = (g.n - column + kColumnTile - 1) / kColumnTile;
      const size_t panels = g.m == 1 && left >= 4 ? 4 : g.m <= 3 && left >= 2 ? 2 : 1;
      const size_t last = column + (panels - 1) * kColumnTile;
      const size_t columns = g.n - last < kColumnTile ? g.n - last : kColumnTile;
      if (panels == 4) {
        Rows<4>(g, 0, 1, column, columns);
      } else if (panels == 2) {
        Rows<2>(g, 0, g.m, column, columns);
      } else {
        size_t row = 0;
        for (size_t group = 0; group < groups; ++group) {
          const size_t rows = (g.m - row + (groups - group) - 1) / (groups - group);
          Rows<1>(g, row, rows, column, columns);
          row += rows;
        }
      }
      column += panels * kColumnTile;
    }
  }

  // ---- inner products ----

  /// As many sums as fit in eight registers beside what they are made of.
  static constexpr int ItemsOfTile(int queries) { return queries == 1 ? 8 : queries == 2 ? 4 : 2; }

  /// Q queries by I items; each sum is one chain over n in vector steps, so every Q and I gives the same bits.
  template <int Q, int I>
  static void DotTile(const float* queries, size_t query_stride, const float* items,
                      size_t item_stride, size_t n, float* scores, size_t score_stride) {
    F sums[Q][I];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) sums[q][i] = V::Zero();
    }
    size_t p = 0;
    for (; p + kLanes <= n; p += kLanes) {
      F x[I];
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) x[i] = V::Load(items + static_cast<size_t>(i) * item_stride + p);
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
        const F y = V::Load(queries + static_cast<size_t>(q) * query_stride + p);
#pragma GCC unroll 4
        for (int i = 0; i < I; ++i) sums[q][i] = V::Fma(y, x[i], sums[q][i]);
      }
    }
    if (p < n) {
      const Mask mask = V::TailMask(n - p);
      F x[I];
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) {
        x[i] = V::MaskLoad(items + static_cast<size_t>(i) * item_stride + p, mask);
      }
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
        const F y = V::MaskLoad(queries + static_cast<size_t>(q) * query_stride + p, mask);
#pragma GCC unroll 4
        for (int i = 0; i < I; ++i) sums[q][i] = V::Fma(y, x[i], sums[q][i]);
      }
    }
    if constexpr (I == ItemsOfTile(Q)) {
      V::StoreSums(sums, scores, score_stride);
    } else {
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
        for (int i = 0; i < I; ++i) {
          scores[static_cast<size_t>(q) * score_stride + static_cast<size_t>(i)] =
              V::ReduceAdd(sums[q][i]);
        }
      }
    }
  }

  static float Dot(const float* a, const float* b, size_t n) {
    float score;
    DotTile<1, 1>(a, 0, b, 0, n, &score, 0);
    return score;
  }

  template <int Q>
  static void DotRows(const float* queries, size_t query_stride, const float* items,
                      size_t item_stride, size_t item_count, size_t n, float* scores,
                      size_t score_stride) {
    constexpr int kItems = ItemsOfTile(Q);
    size_t i = 0;
    for (; i + kItems <= item_count; i += kItems) {
      const float* tile = items + i * item_stride;
      PrefetchPageAhead(tile, kItems * item_stride);
      DotTile<Q, kItems>(queries, query_stride, tile, item_stride, n, scores + i, score_stride);
    }
    for (; i < item_count; ++i) {
      DotTile<Q, 1>(queries, query_stride, items + i * item_stride, item_stride, n, scores + i,
                    score_stride);
    }
  }

  /// What lies a page behind a [n]: the hardware asks ahead within a page only. An address that is nobody's does no harm.
  static void PrefetchPageAhead(const float* a, size_t n) {
    constexpr size_t kPage = 4096 / sizeof(float), kCacheLine = 64 / sizeof(float);
    for (size_t i = 0; i < n; i += kCacheLine) __builtin_prefetch(a + kPage + i);
  }

  /// Groups of four queries, then of what is left; a fifth goes with two of the four, since it would cost as much alone.
  static void DotBlock(const float* queries, size_t query_stride, size_t query_count,
                       const float* items, size_t item_stride, size_t item_count, size_t n,
                       float* scores, size_t score_stride) {
    size_t group = 0;
    for (size_t q = 0; q < query_count; q += group) {
      const size_t left = query_count - q;
      group = left == 5 ? 3 : left < 4 ? left : 4;
      constexpr decltype(&DotRows<1>) kRows[] = {DotRows<1>, DotRows<2>, DotRows<3>, DotRows<4>};
      kRows[group - 1](queries + q * query_stride, query_stride, items, item_stride, item_count, n,
                       scores + q * score_stride, score_stride);
    }
  }

  static size_t SelectAbove(const float* scores, size_t n, float threshold, uint32_t* out) {
    const F limit = V::Set1(threshold);
    size_t count = 0;
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      uint32_t bits = V::GreaterBits(V::Load(scores + i), limit);
      while (bits != 0) {
        out[count++] = static_cast<uint32_t>(i) + static_cast<uint32_t>(__builtin_ctz(bits));
        bits &= bits - 1;
      }
    }
    for (; i < n; ++i) {
      if (scores[i] > threshold) out[count++] = static_cast<uint32_t>(i);
    }
    return count;
  }

  /// x * 0 is 0 for finite x and NaN otherwise, and NaN survives every sum.
  static bool AllFinite(const float* a, size_t n) {
    F sum = V::Zero();
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sum = V::Fma(V::Load(a + i), V::Zero(), sum);
    if (i < n) sum = V::Fma(V::MaskLoad(a + i, V::TailMask(n - i)), V::Zero(), sum);
    return V::ReduceAdd(sum) == 0.0f;
  }

  static void Axpy(float weight, const float* x, size_t n, float* y) {
    const F w = V::Set1(weight);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) V::Store(y + i, V::Fma(w, V::Load(x + i), V::Load(y + i)));
    if (i < n) {
      const Mask mask = V::TailMask(n - i);
      V::MaskStore(y + i, mask, V::Fma(w, V::MaskLoad(x + i, mask), V::MaskLoad(y + i, mask)));
    }
  }

  /// K vectors of columns held in registers over all rows; the tail (K = 1) is masked.
  template <int K, bool kMasked>
  static void BagTile(const float* const* rows, const float* weights, size_t count, size_t column,
                      Mask mask, bool accumulate, bool relu, float* out) {
    F sums[K];
#pragma GCC unroll 8
    for (int v = 0; v < K; ++v) {
      const float* address = out + column + static_cast<size_t>(v) * kLanes;
      sums[v] = !accumulate ? V::Zero() : kMasked ? V::MaskLoad(address, mask) : V::Load(address);
    }
    for (size_t i = 0; i < count; ++i) {
      const F weight = V::Set1(weights[i]);
      const float* row = rows[i] + column;
#pragma GCC unroll 8
      for (int v = 0; v < K; ++v) {
        const float* address = row + static_cast<size_t>(v) * kLanes;
        const F x = kMasked ? V::MaskLoad(address, mask) : V::Load(address);
        sums[v] = V::Fma(weight, x, sums[v]);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < K; ++v) {
      float* address = out + column + static_cast<size_t>(v) * kLanes;
      const F y = relu ? V::Relu(sums[v]) : sums[v];
      if (kMasked) {
        V::MaskStore(address, mask, y);
      } else {
        V::Store(address, y);
      }
    }
  }

  static void Bag(const float* const* rows, const float* weights, size_t count, size_t n,
                  bool accumulate, bool relu, float* out) {
    const Mask all = V::TailMask(kLanes);
    size_t c = 0;
    for (; c + 8 * kLanes <= n; c += 8 * kLanes) {
      BagTile<8, false>(rows, weights, count, c, all, accumulate, relu, out);
    }
    for (; c + kLanes <= n; c += kLanes) {
      BagTile<1, false>(rows, weights, count, c, all, accumulate, relu, out);
    }
    if (c < n) {
      BagTile<1, true>(rows, weights, count, c, V::TailMask(n - c), accumulate, relu, out);
    }
  }

  // ---- elementwise ----

  /// e^x = 2^n e^r with |r| <= ln 2 / 2, degree-6 minimax polynomial of Cephes expf. 2^n is applied in two halves, so
  /// that results below FLT_MIN round once and 2^128 does not overflow before the multiplication.
  static F Exp(F x) {
    // Min and Max return their second operand when either is NaN.
    const F clamped = V::Max(V::Set1(-104.0f), V::Min(V::Set1(89.0f), x));
    const F n = V::Round(V::Mul(clamped, V::Set1(1.44269504088896341f)));
    F r = V::NegFma(n, V::Set1(0.693359375f), clamped);
    r = V::NegFma(n, V::Set1(-2.12194440e-4f), r);
    F y = V::Set1(1.9875691500e-4f);
    y = V::Fma(y, r, V::Set1(1.3981999507e-3f));
    y = V::Fma(y, r, V::Set1(8.3334519073e-3f));
    y = V::Fma(y, r, V::Set1(4.1665795894e-2f));
    y = V::Fma(y, r, V::Set1(1.6666665459e-1f));
    y = V::Fma(y, r, V::Set1(5.0000001201e-1f));
    y = V::Fma(y, V::Mul(r, r), V::Add(r, V::Set1(1.0f)));
    return V::ScaleByPowerOfTwo(y, n);
  }

  template <class Op>
  static void Map(const float* a, size_t n, float* out, Op op) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) V::Store(out + i, op(V::Load(a + i)));
    if (i < n) {
      const Mask mask = V::TailMask(n - i);
      V::MaskStore(out + i, mask, op(V::MaskLoad(a + i, mask)));
    }
  }

  static void Unary(UnaryOp op, const float* a, size_t n, float* out) {
    switch (op) {
      case UnaryOp::kRelu:
        return Map(a, n, out, [](F x) { return V::Relu(x); });
      case UnaryOp::kStep:
        return Map(a, n, out, [](F x) { return V::Step(x); });
      case UnaryOp::kExp:
        return Map(a, n, out, [](F x) { return Exp(x); });
      case UnaryOp::kLog:
        for (size_t i = 0; i < n; ++i) out[i] = __builtin_logf(a[i]);
        return;
      case UnaryOp::kSqrt:
        return Map(a, n, out, [](F x) { return V::Sqrt(x); });
      case UnaryOp::kRsqrt:
        return Map(a, n, out, [](F x) { return V::Div(V::Set1(1.0f), V::Sqrt(x)); });
      case UnaryOp::kSquare:
        return Map(a, n, out, [](F x) { return V::Mul(x, x); });
      case UnaryOp::kNeg:
        return Map(a, n, out, [](F x) { return V::Neg(x); });
    }
  }

  template <class Op>
  static void Zip(BinaryForm form, const float* a, const float* b, size_t n, float* out, Op op) {
    size_t i = 0;
    if (form == BinaryForm::kScalarA) {
      const F x = V::Set1(*a);
      Map(b, n, out, [x, op](F y) { return op(x, y); });
      return;
    }
    if (form == BinaryForm::kScalarB) {
      const F y = V::Set1(*b);
      Map(a, n, out, [y, op](F x) { return op(x, y); });
      return;
    }
    for (; i + kLanes <= n; i += kLanes) {
      V::Store(out + i, op(V::Load(a + i), V::Load(b + i)));
    }
    if (i < n) {
      const Mask mask = V::TailMask(n - i);
      V::MaskStore(out + i, mask, op(V::MaskLoad(a + i, mask), V::MaskLoad(b + i, mask)));
    }
  }

  static void Binary(BinaryOp op, BinaryForm form, const float* a, const float* b, size_t n,
                     float* out) {
    switch (op) {
      case BinaryOp::kAdd:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::Add(x, y); });
      case BinaryOp::kSub:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::Sub(x, y); });
      case BinaryOp::kMul:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::Mul(x, y); });
      case BinaryOp::kDiv:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::Div(x, y); });
      case BinaryOp::kMax:
        return Zip(form, a, b, n, out, [](F x, F y) { return V::MaxOrNan(x, y); });
    }
  }

  // ---- reductions ----

  static float SumRow(const float* a, size_t n) {
    F s0 = V::Zero(), s1 = V::Zero(), s2 = V::Zero(), s3 = V::Zero();
    size_t i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
      s0 = V::Add(s0, V::Load(a + i));
      s1 = V::Add(s1, V::Load(a + i + kLanes));
      s2 = V::Add(s2, V::Load(a + i + 2 * kLanes));
      s3 = V::Add(s3, V::Load(a + i + 3 * kLanes));
    }
    for (; i + kLanes <= n; i += kLanes) s0 = V::Add(s0, V::Load(a + i));
    if (i < n) s1 = V::Add(s1, V::MaskLoad(a + i, V::TailMask(n - i)));
    return V::ReduceAdd(V::Add(V::Add(s0, s1), V::Add(s2, s3)));
  }

  static float MaxRow(const float* a, size_t n) {
    F best = V::Set1(-__builtin_inff());
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) best = V::MaxOrNan(best, V::Load(a + i));
    float lanes[kLanes];
    V::Store(lanes, best);
    float result = -__builtin_inff();
    for (size_t l = 0; l < kLanes; ++l) result = MaxOrNanOne(result, lanes[l]);
    for (; i < n; ++i) result = MaxOrNanOne(result, a[i]);
    return result;
  }

  static float MaxOrNanOne(float a, float b) { return a != a ? a : (b > a || b != b ? b : a); }

  static float ReduceRow(ReduceOp op, const float* a, size_t n) {
    return op == ReduceOp::kSum ? SumRow(a, n) : MaxRow(a, n);
  }

  /// K vectors of columns at once; the tail (K = 1) is masked.
  template <int K, bool kMasked>
  static void ReduceColumnTile(ReduceOp op, const float* a, size_t rows, size_t row_stride,
                               Mask mask, float* out) {
    F total[K];
    const F start = op == ReduceOp::kSum ? V::Zero() : V::Set1(-__builtin_inff());
#pragma GCC unroll 4
    for (int v = 0; v < K; ++v) total[v] = start;
    for (size_t first = 0; first < rows; first += kReduceBlock) {
      const size_t end = rows - first < kReduceBlock ? rows : first + kReduceBlock;
      F part[K];
#pragma GCC unroll 4
      for (int v = 0; v < K; ++v) part[v] = start;
      for (size_t r = first; r < end; ++r) {
        const float* row = a + r * row_stride;
#pragma GCC unroll 4
        for (int v = 0; v < K; ++v) {
          const float* address = row + static_cast<size_t>(v) * kLanes;
          const F x = kMasked ? V::MaskLoad(address, mask) : V::Load(address);
          part[v] = op == ReduceOp::kSum ? V::Add(part[v], x) : V::MaxOrNan(part[v], x);
        }
      }
#pragma GCC unroll 4
      for (int v = 0; v < K; ++v) {
        total[v] =
            op == ReduceOp::kSum ? V::Add(total[v], part[v]) : V::MaxOrNan(total[v], part[v]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < K; ++v) {
      float* address = out + static_cast<size_t>(v) * kLanes;
      if (kMasked) {
        V::MaskStore(address, mask, total[v]);
      } else {
        V::Store(address, total[v]);
      }
    }
  }

  static void ReduceColumns(ReduceOp op, const float* a, size_t rows, size_t row_stride, size_t n,
                            float* out) {
    const Mask all = V::TailMask(kLanes);
    size_t c = 0;
    for (; c + 4 * kLanes <= n; c += 4 * kLanes) {
      ReduceColumnTile<4, false>(op, a + c, rows, row_stride, all, out + c);
    }
    for (; c + kLanes <= n; c += kLanes) {
      ReduceColumnTile<1, false>(op, a + c, rows, row_stride, all, out + c);
    }
    if (c < n) {
      ReduceColumnTile<1, true>(op, a + c, rows, row_stride, V::TailMask(n - c), out + c);
    }
  }

  static void SoftmaxRow(const float* a, size_t n, float* out) {
    const F max = V::Set1(MaxRow(a, n));
    F sum = V::Zero();
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const F y = Exp(V::Sub(V::Load(a + i), max));
      V::Store(out + i, y);
      sum = V::Add(sum, y);
    }
    if (i < n) {
      const Mask mask = V::TailMask(n - i);
      const F y = V::ZeroUnless(mask, Exp(V::Sub(V::MaskLoad(a + i, mask), max)));
      V::MaskStore(out + i, mask, y);
      sum = V::Add(sum, y);
    }
    const F scale = V::Set1(1.0f / V::ReduceAdd(sum));
    Map(out, n, out, [scale](F x) { return V::Mul(x, scale); });
  }

  /// 0 for the lanes before kLanes - i, -Inf from there on, read at i: added to a vector, it hides its last lanes.
  struct HidingLanes {
    float values[2 * kLanes];
    constexpr HidingLanes() : values() {
      for (size_t i = kLanes; i < 2 * kLanes; ++i) values[i] = -__builtin_inff();
    }
  };

  /// R rows side by side: one alone is a chain of latencies (maximum, exp, sum, division), four hide each other's. Row q
  /// sees `seen` + q columns and is `n` long.
  template <int R>
  static void SoftmaxCausalRows(float* a, size_t row_stride, size_t seen, size_t n) {
    static constexpr HidingLanes kHiding{};
    const size_t full = seen / kLanes * kLanes;
    const size_t end = seen + R - 1;
    F best[R];
#pragma GCC unroll 4
    for (int q = 0; q < R; ++q) best[q] = V::Set1(-__builtin_inff());
    size_t i = 0;
    for (; i < full; i += kLanes) {
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        best[q] = V::Max(best[q], V::Load(a + static_cast<size_t>(q) * row_stride + i));
      }
    }
    for (; i < end; i += kLanes) {
      const Mask inside = V::TailMask(n - i < kLanes ? n - i : kLanes);
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        const size_t lanes = LanesSeen(seen + static_cast<size_t>(q), i);
        const F x = V::MaskLoad(a + static_cast<size_t>(q) * row_stride + i, inside);
        best[q] = V::Max(best[q], V::Add(x, V::Load(kHiding.values + kLanes - lanes)));
      }
    }
    F max[R];
    F sum[R];
#pragma GCC unroll 4
    for (int q = 0; q < R; ++q) {
      max[q] = V::Set1(MaxLane(best[q]));
      sum[q] = V::Zero();
    }
    for (i = 0; i < full; i += kLanes) {
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        float* row = a + static_cast<size_t>(q) * row_stride;
        const F y = Exp(V::Sub(V::Load(row + i), max[q]));
        V::Store(row + i, y);
        sum[q] = V::Add(sum[q], y);
      }
    }
    for (; i < end; i += kLanes) {
      const Mask inside = V::TailMask(n - i < kLanes ? n - i : kLanes);
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        float* row = a + static_cast<size_t>(q) * row_stride;
        const Mask valid = V::TailMask(LanesSeen(seen + static_cast<size_t>(q), i));
        // Hidden lanes go through exp as 0: what it does to -Inf would be a result below FLT_MIN, which is slow.
        const F x = V::ZeroUnless(valid, V::Sub(V::MaskLoad(row + i, inside), max[q]));
        const F y = V::ZeroUnless(valid, Exp(x));
        V::MaskStore(row + i, inside, y);
        sum[q] = V::Add(sum[q], y);
      }
    }
    F scale[R];
#pragma GCC unroll 4
    for (int q = 0; q < R; ++q) scale[q] = V::Set1(1.0f / V::ReduceAdd(sum[q]));
    for (i = 0; i + kLanes <= n && i < end; i += kLanes) {
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        float* row = a + static_cast<size_t>(q) * row_stride;
        V::Store(row + i, V::Mul(V::Load(row + i), scale[q]));
      }
    }
    for (; i < n; i += kLanes) {
      const Mask inside = V::TailMask(n - i < kLanes ? n - i : kLanes);
#pragma GCC unroll 4
      for (int q = 0; q < R; ++q) {
        float* row = a + static_cast<size_t>(q) * row_stride;
        const F y = i < end ? V::Mul(V::MaskLoad(row + i, inside), scale[q]) : V::Zero();
        V::MaskStore(row + i, inside, y);
      }
    }
  }

  static size_t LanesSeen(size_t seen, size_t i) {
    return seen <= i ? 0 : seen - i < kLanes ? seen - i : kLanes;
  }

  static float MaxLane(F x) {
    float lanes[kLanes];
    V::Store(lanes, x);
#pragma GCC unroll 4
    for (size_t half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
      for (size_t l = 0; l < half; ++l) {
        lanes[l] = lanes[l] > lanes[l + half] ? lanes[l] : lanes[l + half];
      }
    }
    return lanes[0];
  }

  static void SoftmaxCausal(float* a, size_t row_stride, size_t rows, size_t first) {
    const size_t n = first + rows;
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      SoftmaxCausalRows<4>(a + r * row_stride, row_stride, first + r + 1, n);
    }
    for (; r < rows; ++r) SoftmaxCausalRows<1>(a + r * row_stride, row_stride, first + r + 1, n);
  }

  static void LayerNorm(const float* a, size_t a_stride, size_t rows, size_t n, const float* scale,
                        const float* offset, float epsilon, float* out, size_t out_stride) {
    const float count = static_cast<float>(n);
    const size_t full = n / kLanes * kLanes;
    const Mask tail = V::TailMask(n - full);
    for (size_t r = 0; r < rows; ++r, a += a_stride, out += out_stride) {
      const F mean = V::Set1(SumRow(a, n) / count);
      F squares0 = V::Zero();
      F squares1 = V::Zero();
      size_t i = 0;
      for (; i + 2 * kLanes <= full; i += 2 * kLanes) {
        const F x0 = V::Sub(V::Load(a + i), mean);
        const F x1 = V::Sub(V::Load(a + i + kLanes), mean);
        squares0 = V::Fma(x0, x0, squares0);
        squares1 = V::Fma(x1, x1, squares1);
      }
      if (i < full) {
        const F x = V::Sub(V::Load(a + i), mean);
        squares0 = V::Fma(x, x, squares0);
      }
      if (full < n) {
        const F x = V::ZeroUnless(tail, V::Sub(V::MaskLoad(a + full, tail), mean));
        squares1 = V::Fma(x, x, squares1);
      }
      const float variance = V::ReduceAdd(V::Add(squares0, squares1)) / count;
      const F inverse = V::Set1(1.0f / __builtin_sqrtf(variance + epsilon));
      for (i = 0; i < full; i += kLanes) {
        const F x = V::Mul(V::Sub(V::Load(a + i), mean), inverse);
        V::Store(out + i, V::Fma(x, V::Load(scale + i), V::Load(offset + i)));
      }
      if (full < n) {
        const F x = V::Mul(V::Sub(V::MaskLoad(a + full, tail), mean), inverse);
        V::MaskStore(out + full, tail,
                     V::Fma(x, V::MaskLoad(scale + full, tail), V::MaskLoad(offset + full, tail)));
      }
    }
  }

  /// Elements i to i + kLanes of a row of n, 0 past its end.
  static F LoadUpTo(const float* a, size_t i, size_t n) {
    return n - i < kLanes ? V::MaskLoad(a + i, V::TailMask(n - i)) : V::Load(a + i);
  }
  static void StoreUpTo(float* a, size_t i, size_t n, F x) {
    if (n - i < kLanes) {
      V::MaskStore(a + i, V::TailMask(n - i), x);
    } else {
      V::Store(a + i, x);
    }
  }

  /// With u = (a - mean) inverse and g = dy scale: da = inverse (g - mean of g - u mean of g u). Past the end of a row
  /// u is not 0, but g is.
  static void LayerNormBackward(const float* a, const float* dy, size_t rows, size_t n,
                                const float* scale, float epsilon, float* da, float* dscale,
                                float* doffset) {
    const float count = static_cast<float>(n);
    for (size_t r = 0; r < rows; ++r, a += n, dy += n, da += n) {
      const F mean = V::Set1(SumRow(a, n) / count);
      F squares = V::Zero();
      for (size_t i = 0; i < n; i += kLanes) {
        F x = V::Sub(LoadUpTo(a, i, n), mean);
        if (n - i < kLanes) x = V::ZeroUnless(V::TailMask(n - i), x);
        squares = V::Fma(x, x, squares);
      }
      const F inverse = V::Set1(1.0f / __builtin_sqrtf(V::ReduceAdd(squares) / count + epsilon));
      F sums = V::Zero();
      F products = V::Zero();
      for (size_t i = 0; i < n; i += kLanes) {
        const F unit = V::Mul(V::Sub(LoadUpTo(a, i, n), mean), inverse);
        const F y = LoadUpTo(dy, i, n);
        StoreUpTo(dscale, i, n, V::Fma(y, unit, LoadUpTo(dscale, i, n)));
        StoreUpTo(doffset, i, n, V::Add(y, LoadUpTo(doffset, i, n)));
        const F g = V::Mul(y, LoadUpTo(scale, i, n));
        sums = V::Add(sums, g);
        products = V::Fma(g, unit, products);
      }
      const F sum = V::Set1(V::ReduceAdd(sums) / count);
      const F product = V::Set1(V::ReduceAdd(products) / count);
      for (size_t i = 0; i < n; i += kLanes) {
        const F unit = V::Mul(V::Sub(LoadUpTo(a, i, n), mean), inverse);
        const F g = V::Mul(LoadUpTo(dy, i, n), LoadUpTo(scale, i, n));
        StoreUpTo(da, i, n, V::Mul(inverse, V::NegFma(unit, product, V::Sub(g, sum))));
      }
    }
  }

  /// Plain C++: compilers turn integer loops into this instruction set's own, and no rounding is left to them.
  static void Dropout(uint32_t seed, uint32_t first, uint32_t threshold, float scale,
                      const float* a, size_t n, float* out) {
    for (size_t i = 0; i < n; ++i) {
      const uint32_t hash = DropoutHash(seed, first + static_cast<uint32_t>(i));
      out[i] = hash < threshold ? 0.0f : a[i] * scale;
    }
  }

  // ---- layout ----

  static void TransposeScalar(const float* a, size_t a_stride, size_t rows, size_t columns,
                              float* out, size_t out_stride) {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) out[c * out_stride + r] = a[r * a_stride + c];
    }
  }

  static void Transpose(const float* a, size_t a_stride, size_t rows, size_t columns, float* out,
                        size_t out_stride) {
    constexpr size_t kTile = V::kTransposeTile;
    const size_t full_columns = columns / kTile * kTile;
    size_t r = 0;
    for (; r + kTile <= rows; r += kTile) {
      const float* source = a + r * a_stride;
      for (size_t c = 0; c < full_columns; c += kTile) {
        V::TransposeTile(source + c, a_stride, out + c * out_stride + r, out_stride);
      }
      TransposeScalar(source + full_columns, a_stride, kTile, columns - full_columns,
                      out + full_columns * out_stride + r, out_stride);
    }
    TransposeScalar(a + r * a_stride, a_stride, rows - r, columns, out + r, out_stride);
  }

  // ---- optimiser ----

  static void Adam(const AdamStep& s, const float* gradient, size_t n, float* parameter, float* m,
                   float* v) {
    const F beta1 = V::Set1(s.beta1), beta2 = V::Set1(s.beta2);
    const F keep1 = V::Set1(1.0f - s.beta1), keep2 = V::Set1(1.0f - s.beta2);
    const F first = V::Set1(s.first_correction), second = V::Set1(s.second_correction);
    const F rate = V::Set1(s.learning_rate), epsilon = V::Set1(s.epsilon);
    size_t i = 0;
    for (; i < n; i += kLanes) {
      const Mask mask = V::TailMask(n - i < kLanes ? n - i : kLanes);
      const bool full = n - i >= kLanes;
      const F g = full ? V::Load(gradient + i) : V::MaskLoad(gradient + i, mask);
      F m1 = full ? V::Load(m + i) : V::MaskLoad(m + i, mask);
      F v1 = full ? V::Load(v + i) : V::MaskLoad(v + i, mask);
      F p = full ? V::Load(parameter + i) : V::MaskLoad(parameter + i, mask);
      m1 = V::Fma(beta1, m1, V::Mul(keep1, g));
      v1 = V::Fma(beta2, v1, V::Mul(keep2, V::Mul(g, g)));
      const F denominator = V::Add(V::Sqrt(V::Mul(v1, second)), epsilon);
      p = V::NegFma(rate, V::Div(V::Mul(m1, first), denominator), p);
      if (full) {
        V::Store(m + i, m1);
        V::Store(v + i, v1);
        V::Store(parameter + i, p);
      } else {
        V::MaskStore(m + i, mask, m1);
        V::MaskStore(v + i, mask, v1);
        V::MaskStore(parameter + i, mask, p);
      }
    }
  }

  static constexpr KernelTable Table(const char* isa) {
    using Q = QuantisedKernels<V>;
    KernelTable table = {};
    table.isa = isa;
    table.column_tile = kColumnTile;
    table.gemm = Gemm;
    table.dot = Dot;
    table.dot_block = DotBlock;
    table.to_bf16 = Q::ToBf16;
    table.gemm_bf16 = Q::GemmBf16;
    table.scan_codes = Q::ScanCodes;
    table.select_above_int = Q::SelectAboveInt;
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
};

}  // namespace tandem
