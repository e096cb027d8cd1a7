// Scales a row to unit norm. Both towers end with this, so the dot product of two embeddings is
// their cosine.
#pragma once

#include <cmath>
#include <cstddef>

#include "kernels/kernels.h"

namespace tandem {

/// Scales row to unit norm. Returns false and leaves the row as it is when it is zero, NaN or Inf.
inline bool Normalise(const KernelTable& kernels, float* row, std::size_t n) {
  const float squares = kernels.dot(row, row, n);
  if (squares > 1e-30f && squares < 1e30f) {
    const float scale = 1.0f / std::sqrt(squares);
    kernels.binary(BinaryOp::kMul, BinaryForm::kScalarB, row, &scale, n, row);
    return true;
  }
  // In f64, the squares of finite f32 values neither overflow nor vanish.
  double sum = 0.0;
  for (std::size_t j = 0; j < n; ++j) {
    sum += static_cast<double>(row[j]) * static_cast<double>(row[j]);
  }
  if (!(sum > 0.0) || !std::isfinite(sum)) return false;
  const double inverse = 1.0 / std::sqrt(sum);
  for (std::size_t j = 0; j < n; ++j) {
    row[j] = static_cast<float>(static_cast<double>(row[j]) * inverse);
  }
  return true;
}

}  // namespace tandem
