// Checks that every vector of an index or a query is finite and not zero.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>

#include "core/runtime/status.h"
#include "kernels/kernels.h"

namespace tandem {

/// NonFinite names the first of rows [count, dimensions] that holds NaN or Inf, or zeros only.
///
/// Such vectors are refused instead of skipped: five NaN rows in 5,000 cut the recall of an HNSW
/// graph from 1.000 to .036.
inline Status CheckVectors(const KernelTable& kernels, const float* rows, std::size_t count,
                           std::size_t dimensions, const char* what) {
  for (std::size_t row = 0; row < count; ++row) {
    const float* vector = rows + row * dimensions;
    // One pass in the common case: a finite positive squared norm shows that the vector is finite
    // and not zero.
    const float norm = kernels.dot(vector, vector, dimensions);
    if (norm > 0.0f && std::isfinite(norm)) continue;
    if (!kernels.all_finite(vector, dimensions)) {
      return Status::NonFinite(std::string("Expected finite ") + what +
                               ", received NaN or Inf in row " + std::to_string(row) +
                               ". Check the program that wrote it.");
    }
    bool zero = true;
    for (std::size_t i = 0; i < dimensions; ++i) zero = zero && vector[i] == 0.0f;
    if (zero) {
      return Status::NonFinite(std::string("Expected ") + what +
                               " with a direction, received zero norm in row " +
                               std::to_string(row) + ". Leave such rows out.");
    }
  }
  return Status::Ok();
}

/// OutOfRange names the first of rows [count, dimensions] whose norm is so far from 1 that a
/// product of two such vectors may not fit f32.
inline Status CheckNorms(const KernelTable& kernels, const float* rows, std::size_t count,
                         std::size_t dimensions, const char* what) {
  for (std::size_t row = 0; row < count; ++row) {
    const float* vector = rows + row * dimensions;
    const float squares = kernels.dot(vector, vector, dimensions);
    if (squares >= 1e-12f && squares <= 1e12f) continue;
    return Status::OutOfRange(std::string("Expected ") + what +
                              " of a norm from 1e-6 to 1e6, received the squared norm " +
                              std::to_string(squares) + " in row " + std::to_string(row) +
                              ". Normalise them.");
  }
  return Status::Ok();
}

}  // namespace tandem
