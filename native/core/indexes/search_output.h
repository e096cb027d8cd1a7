// Where a search writes its hits. Every index fills it in the same way.
#pragma once

#include <cstdint>

namespace tandem {

/// Result arrays for B queries and k hits each, owned by the caller. TopK::Finish writes one
/// query's part.
struct SearchOutput {
  /// [B, k] rows of the catalogue, best hit first; -1 past the count.
  std::int32_t* rows;
  /// [B, k] scores of these rows; -Inf past the count.
  float* scores;
  /// [B] hits found.
  std::int32_t* counts;
};

}  // namespace tandem
