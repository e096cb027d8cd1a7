// Arrays for the results of a search, owned by the test.
#pragma once

#include <cstdint>
#include <vector>

#include "core/indexes/exact_index.h"

namespace tandem::test {

struct Results {
  Results(std::size_t count, std::size_t k) : slots(count * k), scores(count * k), counts(count) {}
  SearchRows rows() { return {slots.data(), scores.data(), counts.data()}; }
  std::vector<std::int32_t> slots;
  std::vector<float> scores;
  std::vector<std::int32_t> counts;
};

}  // namespace tandem::test
