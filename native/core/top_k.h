// The k best (score, slot) pairs of a stream, best first, ties by lower slot.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace tandem {

struct Hit {
  float score;
  std::uint32_t slot;
};

/// Higher score first; equal scores by lower slot. NaN never gets here: TopK::Offer turns it into -Inf.
inline bool Better(const Hit& a, const Hit& b) {
  return a.score > b.score || (a.score == b.score && a.slot < b.slot);
}

/// Bounded heap, worst on top. Memory is reserved once per k and reused.
class TopK {
 public:
  void Start(std::size_t k) {
    k_ = k;
    hits_.clear();
    hits_.reserve(k);
  }

  bool full() const { return hits_.size() == k_; }

  /// A later slot must score above this to enter (slots offered in ascending order); meaningful once full.
  float threshold() const { return hits_.front().score; }

  void Offer(float score, std::uint32_t slot) {
    const Hit hit = {std::isnan(score) ? -std::numeric_limits<float>::infinity() : score, slot};
    if (hits_.size() < k_) {
      hits_.push_back(hit);
      std::push_heap(hits_.begin(), hits_.end(), Better);
    } else if (k_ > 0 && Better(hit, hits_.front())) {
      std::pop_heap(hits_.begin(), hits_.end(), Better);
      hits_.back() = hit;
      std::push_heap(hits_.begin(), hits_.end(), Better);
    }
  }

  /// Sorts and writes a row of k slots and scores: -1 and -Inf past the count, which is returned.
  std::size_t Finish(std::int32_t* slots, float* scores) {
    std::sort_heap(hits_.begin(), hits_.end(), Better);
    for (std::size_t i = 0; i < k_; ++i) {
      const bool used = i < hits_.size();
      slots[i] = used ? static_cast<std::int32_t>(hits_[i].slot) : -1;
      scores[i] = used ? hits_[i].score : -std::numeric_limits<float>::infinity();
    }
    return hits_.size();
  }

 private:
  std::size_t k_ = 0;
  std::vector<Hit> hits_;
};

}  // namespace tandem
