// Arrays for the output of a search, owned by the test.
#pragma once

#include <cstdint>
#include <vector>

#include "core/indexes/exact_index.h"

namespace tandem::test {

struct Results {
  Results(std::size_t count, std::size_t k) : rows(count * k), scores(count * k), counts(count) {}
  SearchOutput output() { return {rows.data(), scores.data(), counts.data()}; }
  std::vector<std::int32_t> rows;
  std::vector<float> scores;
  std::vector<std::int32_t> counts;
};

}  // namespace tandem::test
