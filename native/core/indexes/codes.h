// 8-bit codes of vectors and queries, in the layout that KernelTable::scan_codes reads.
//
// A component x of a vector becomes round(x / step) + kCodeZero, with one step for a group of
// vectors. A component of a query becomes round(x / step), at most kMaxQueryCode in magnitude. With
// S the sum that scan_codes gives, query . vector is about
//
//   step * query step * (S - kCodeZero * sum of the query's codes).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/runtime/gemm.h"
#include "kernels/kernels.h"

namespace tandem {

constexpr int kCodeZero = 128;
/// Largest magnitude of a code, measured from kCodeZero.
constexpr int kMaxCode = 127;
/// The largest depth that scan_codes supports.
constexpr std::size_t kMaxCodeDepth = 8192;

/// Components per code: dimensions rounded up to whole groups.
inline std::size_t CodeDepth(std::size_t dimensions) { return RoundUp(dimensions, kCodeGroup); }

/// The step at which the largest given magnitude still fits. It is never so small that 1 / step
/// leaves f32.
inline float CodeStep(float largest, int most) {
  return std::max(largest / static_cast<float>(most), std::numeric_limits<float>::min());
}

/// Writes the code of x [dimensions] as item `item` of `blocks`. Returns the squared norm of the
/// rounding error.
inline double WriteCode(const float* x, std::size_t dimensions, float step, std::size_t item,
                        std::uint8_t* blocks) {
  const std::size_t depth = CodeDepth(dimensions);
  std::uint8_t* block = blocks + item / kCodeBlock * kCodeBlock * depth;
  double lost = 0.0;
  for (std::size_t d = 0; d < depth; ++d) {
    const float value = d < dimensions ? x[d] : 0.0f;
    // value| <= step * kMaxCode, so the rounded value is at most kMaxCode.
    const float rounded = std::nearbyintf(value / step);
    const double error = static_cast<double>(value) - static_cast<double>(rounded) * step;
    lost += error * error;
    block[(d / kCodeGroup * kCodeBlock + item % kCodeBlock) * kCodeGroup + d % kCodeGroup] =
        static_cast<std::uint8_t>(static_cast<int>(rounded) + kCodeZero);
  }
  return lost;
}

/// Numbers that belong to the codes of one query.
struct QueryCode {
  float step;
  /// kCodeZero times the sum of the codes: the result of scan_codes for a vector of zeros.
  std::int32_t zero;
  /// L2 norm of the rounding error.
  float error;
};

/// The greatest sum whose score, base + scale * (sum - zero), is certainly not above `threshold`.
/// The result is one less than the exact quotient, so that rounding never drops a candidate.
inline std::int32_t SumLimit(float threshold, float base, float scale, std::int32_t zero) {
  const double steps = std::floor((static_cast<double>(threshold) - static_cast<double>(base)) /
                                  static_cast<double>(scale)) +
                       zero - 1.0;
  return static_cast<std::int32_t>(std::min(2147483647.0, std::max(-2147483648.0, steps)));
}

/// Writes codes [CodeDepth(dimensions)] of a finite, non-zero query [dimensions].
inline QueryCode WriteQueryCode(const float* query, std::size_t dimensions, std::int8_t* codes) {
  float largest = 0.0f;
  for (std::size_t d = 0; d < dimensions; ++d) largest = std::max(largest, std::fabs(query[d]));
  const float step = CodeStep(largest, kMaxQueryCode);
  const float scale = 1.0f / step;
  std::int32_t sum = 0;
  float lost = 0.0f;
  for (std::size_t d = 0; d < dimensions; ++d) {
    const int rounded = static_cast<int>(std::lrintf(query[d] * scale));
    const int code = std::min(kMaxQueryCode, std::max(-kMaxQueryCode, rounded));
    codes[d] = static_cast<std::int8_t>(code);
    sum += code;
    const float error = query[d] - static_cast<float>(code) * step;
    lost += error * error;
  }
  for (std::size_t d = dimensions; d < CodeDepth(dimensions); ++d) codes[d] = 0;
  return {step, kCodeZero * sum, std::sqrt(lost)};
}

}  // namespace tandem
