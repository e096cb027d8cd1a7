// Exhaustive f32 scan by inner product: the oracle of recall tests and the answer where few items are left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/bitset.h"
#include "core/status.h"
#include "core/top_k.h"
#include "kernels/kernels.h"

namespace tandem {

/// Caller-owned result rows, [B, k] and [B]; see SearchOutput in src/native/binding.ts.
struct SearchRows {
  std::int32_t* slots;
  float* scores;
  std::int32_t* counts;
};

/// Borrows its vectors: they must outlive the index unchanged. One thread at a time: scratch is reused between calls.
class ExactIndex {
 public:
  explicit ExactIndex(const KernelTable& kernels) : kernels_(&kernels) {}

  /// vectors [size, dimensions], checked to be finite and non-zero. At most 2^31 - 1 rows.
  Status Reset(const float* vectors, std::size_t size, std::size_t dimensions);

  /// The true top k of each of `count` queries [count, dimensions]; ties by lower slot. Work over 2^24 multiplications is
  /// spread over the shared thread pool, a group of queries each, with the same results.
  Status Search(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                const SearchRows& out);

  /// out[i] = inner product of query with vector slots[i]. OutOfRange names the position of a bad slot.
  Status Score(const float* query, const std::int32_t* slots, std::size_t count, float* out) const;

  /// Where the vectors are now, for an owner whose memory may move.
  const float* vectors() const { return vectors_; }
  std::size_t size() const { return size_; }
  std::size_t dimensions() const { return dimensions_; }
  const KernelTable& kernels() const { return *kernels_; }

 private:
  struct Scratch {
    std::vector<TopK> top;
    std::vector<float> scores;
    std::vector<std::uint32_t> candidates;
  };

  void SearchGroup(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                   bool sparse, const SearchRows& out, Scratch* scratch) const;

  const KernelTable* kernels_;
  const float* vectors_ = nullptr;
  std::size_t size_ = 0;
  std::size_t dimensions_ = 0;
  std::vector<Scratch> scratch_;
};

}  // namespace tandem
