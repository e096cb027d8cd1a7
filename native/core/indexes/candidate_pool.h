// Candidates of one query found with approximate scores, and their scoring again in f32.
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

/// Keeps what can still be among the best: a candidate is out once `rank` others are better by more than `slack`.
/// Memory is kept between queries.
class CandidatePool {
 public:
  void Start(std::size_t rank, float slack) {
    candidates_.clear();
    rank_ = rank;
    slack_ = slack;
    room_ = std::max<std::size_t>(kLeastRoom, 3 * rank);
    threshold_ = -std::numeric_limits<float>::infinity();
  }

  /// A score must lie above this to matter.
  float threshold() const { return threshold_; }

  void Add(float score, std::uint32_t row) { candidates_.push_back(MakeRankKey(score, row)); }

  /// Raises the threshold once enough was added since the last time; to be called now and then.
  void Settle() {
    if (candidates_.size() >= room_) Compact();
  }

  /// Drops what is out and asks for the rows of what is left, which Rescore will read: they lie anywhere.
  void Close(const float* vectors, std::size_t dimensions) {
    Compact();
    for (const RankKey candidate : candidates_) {
      const float* vector = vectors + std::size_t{RowOf(candidate)} * dimensions;
      for (std::size_t d = 0; d < dimensions; d += 16) __builtin_prefetch(vector + d);
    }
  }

  /// After Close: offers the candidates to `top`, scored by the kernel's own dot product.
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
    // The last of those that score the threshold.
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
