// Checks the arrays that callers pass against the lengths and ranges that their reader relies on.
#pragma once

#include <cstddef>
#include <string>

#include "core/runtime/status.h"
#include "core/runtime/views.h"
#include "kernels/kernels.h"

namespace tandem {

/// @param shape the length in the letters of docs/explanation/model.md, for the message; empty when
///   there are none.
inline Status CheckLength(const std::string& name, std::size_t expected, const char* shape,
                          std::size_t received) {
  if (expected == received) return Status::Ok();
  const std::string letters = *shape == '\0' ? "" : std::string(" ") + shape;
  return Status::OutOfRange("Expected length " + std::to_string(expected) + letters + " for " +
                            name + ", received length " + std::to_string(received) + ".");
}

/// Counts the rows of a table [rows, width], which must have at least one.
inline Status CountRows(const char* name, const FloatView& table, const char* width_name,
                        std::size_t width, std::size_t* rows) {
  *rows = table.size / width;
  if (*rows > 0 && table.size % width == 0) return Status::Ok();
  return Status::OutOfRange("Expected a positive multiple of " + std::to_string(width) + " (" +
                            width_name + ") as length of " + name + ", received " +
                            std::to_string(table.size) + ".");
}

inline Status CheckFinite(const KernelTable& kernels, const std::string& name,
                          const FloatView& weights) {
  if (kernels.all_finite(weights.data, weights.size)) return Status::Ok();
  return Status::NonFinite("Expected finite weights in " + name +
                           ", received NaN or Inf. Take a checkpoint whose loss is finite.");
}

/// CheckLength and CheckFinite.
inline Status CheckWeights(const KernelTable& kernels, const std::string& name,
                           const FloatView& weights, std::size_t length, const char* shape) {
  const Status status = CheckLength(name, length, shape, weights.size);
  return status.ok() ? CheckFinite(kernels, name, weights) : status;
}

/// CountRows and CheckFinite.
inline Status CheckTable(const KernelTable& kernels, const char* name, const FloatView& table,
                         const char* width_name, std::size_t width, std::size_t* rows) {
  const Status status = CountRows(name, table, width_name, width, rows);
  return status.ok() ? CheckFinite(kernels, name, table) : status;
}

/// Checks offsets [count + 1], which ascend from 0.
inline Status CheckOffsets(const char* name, const Int32View& offsets, std::size_t count,
                           const char* shape) {
  const Status status = CheckLength(name, count + 1, shape, offsets.size);
  if (!status.ok()) return status;
  for (std::size_t i = 0; i <= count; ++i) {
    const std::int32_t before = i == 0 ? 0 : offsets.data[i - 1];
    if (i == 0 ? offsets.data[i] == 0 : offsets.data[i] >= before) continue;
    return Status::OutOfRange(std::string("Expected ascending offsets from 0 for ") + name +
                              ", received " + std::to_string(offsets.data[i]) + " at " +
                              std::to_string(i) + ".");
  }
  return Status::Ok();
}

/// Checks that the first `count` of rows lie below `limit`.
inline Status CheckRows(const char* name, const Int32View& rows, std::size_t count,
                        std::size_t limit) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t row = rows.data[i];
    if (row >= 0 && static_cast<std::size_t>(row) < limit) continue;
    return Status::OutOfRange("Expected rows from 0 to " + std::to_string(limit - 1) + " in " +
                              name + ", received " + std::to_string(row) + " at " +
                              std::to_string(i) + ".");
  }
  return Status::Ok();
}

}  // namespace tandem
