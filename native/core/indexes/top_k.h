// The k best (score, row) pairs of a stream, best first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "core/indexes/rank_key.h"

namespace tandem {

/// A bounded heap with the worst pair on top. Memory is reserved once for a k and reused.
class TopK {
 public:
  void Start(std::size_t k) {
    k_ = k;
    keys_.clear();
    keys_.reserve(k);
  }

  bool full() const { return keys_.size() == k_; }

  /// A later row must score above this to enter, when rows are offered in ascending order. Valid
  /// once full.
  float threshold() const { return ScoreOf(keys_.front()); }

  void Offer(float score, std::uint32_t row) {
    const RankKey key = MakeRankKey(score, row);
    if (keys_.size() < k_) {
      keys_.push_back(key);
      // Becomes a heap only when it is full: until then nobody asks for the worst pair.
      if (keys_.size() == k_) std::make_heap(keys_.begin(), keys_.end(), std::greater<>());
    } else if (k_ > 0 && key > keys_.front()) {
      std::pop_heap(keys_.begin(), keys_.end(), std::greater<>());
      keys_.back() = key;
      std::push_heap(keys_.begin(), keys_.end(), std::greater<>());
    }
  }

  /// Sorts the pairs and writes k rows and scores: -1 and -Inf past the count, which is returned.
  std::size_t Finish(std::int32_t* rows, float* scores) {
    std::sort(keys_.begin(), keys_.end(), std::greater<>());
    const std::size_t count = keys_.size();
    for (std::size_t i = 0; i < count; ++i) {
      rows[i] = static_cast<std::int32_t>(RowOf(keys_[i]));
      scores[i] = ScoreOf(keys_[i]);
    }
    std::fill(rows + count, rows + k_, -1);
    std::fill(scores + count, scores + k_, -std::numeric_limits<float>::infinity());
    return count;
  }

 private:
  std::size_t k_ = 0;
  std::vector<RankKey> keys_;
};

}  // namespace tandem
