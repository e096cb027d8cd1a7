// Candidates of one query that were found with approximate scores, and their exact scoring in f32.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "core/indexes/top_k.h"
#include "kernels/kernels.h"

namespace tandem {

/// Keeps the candidates that can still be among the best. A candidate is dropped once `rank` others
/// are better by more than `slack`. Memory is kept between queries.
class CandidatePool {
 public:
  void Start(std::size_t rank, float slack) {
    candidates_.clear();
    rank_ = rank;
    slack_ = slack;
    room_ = std::max<std::size_t>(kLeastRoom, 3 * rank);
    threshold_ = -std::numeric_limits<float>::infinity();
  }

  /// Only candidates with a score above this matter.
  float threshold() const { return threshold_; }

  void Add(float score, std::uint32_t row) { candidates_.push_back(MakeRankKey(score, row)); }

  /// Raises the threshold when enough candidates were added since the last time. Call it
  /// regularly while candidates are added, to bound the memory.
  void Settle() {
    if (candidates_.size() >= room_) Compact();
  }

  /// Drops the candidates below the threshold and prefetches the vectors of the others, which
  /// Rescore will read in random order.
  void Close(const float* vectors, std::size_t dimensions) {
    Compact();
    for (const RankKey candidate : candidates_) {
      const float* vector = vectors + std::size_t{RowOf(candidate)} * dimensions;
      for (std::size_t d = 0; d < dimensions; d += 16) __builtin_prefetch(vector + d);
    }
  }

  /// Offers the candidates to `top`, scored by the kernel's own dot product. Call it after Close.
  void Rescore(const KernelTable& kernels, const float* query, const float* vectors,
               std::size_t dimensions, TopK* top) const {
    for (const RankKey candidate : candidates_) {
      const std::uint32_t row = RowOf(candidate);
      const float* vector = vectors + std::size_t{row} * dimensions;
      top->Offer(kernels.dot(query, vector, dimensions), row);
    }
  }

 private:
  static constexpr std::size_t kLeastRoom = 256;

  void Compact() {
    if (candidates_.size() < rank_ || rank_ == 0) return;
    const auto nth = candidates_.begin() + static_cast<std::ptrdiff_t>(rank_ - 1);
    std::nth_element(candidates_.begin(), nth, candidates_.end(), std::greater<>());
    threshold_ = std::max(threshold_, ScoreOf(*nth) - slack_);
    // The lowest-ranking key with this score: candidates at the threshold stay.
    const RankKey least = MakeRankKey(threshold_, std::numeric_limits<std::uint32_t>::max());
    candidates_.erase(std::partition(nth + 1, candidates_.end(),
                                     [least](RankKey candidate) { return candidate >= least; }),
                      candidates_.end());
    room_ = std::max(room_, 2 * candidates_.size());
  }

  std::vector<RankKey> candidates_;
  std::size_t rank_ = 0;
  std::size_t room_ = 0;
  float slack_ = 0.0f;
  float threshold_ = 0.0f;
};

}  // namespace tandem
