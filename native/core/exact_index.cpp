// Blocked scan: a group of queries shares each block of items while it is in the first-level cache.

#include "core/exact_index.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/thread_pool.h"
#include "core/vector_checks.h"

namespace tandem {
namespace {

/// Items per block: 256 x 64 floats is 64 KiB, half the smallest L2 in use. A multiple of 32 for the bitset.
constexpr std::size_t kItemBlock = 256;
/// Queries per group: 8 score rows of a block stay in L1, and item loads are shared four ways by dot_block.
constexpr std::size_t kQueryGroup = 8;
/// A scan costs about as much as gathering one row in 8, measured at 64 dimensions.
constexpr std::size_t kSparseFraction = 8;
constexpr std::size_t kParallelWork = std::size_t{1} << 24;

}  // namespace

Status ExactIndex::Reset(const float* vectors, std::size_t size, std::size_t dimensions) {
  if (size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return Status::OutOfRange("Expected at most 2147483647 vectors, received " +
                              std::to_string(size) + ".");
  }
  const Status status = CheckVectors(*kernels_, vectors, size, dimensions, "vectors");
  if (!status.ok()) return status;
  vectors_ = vectors;
  size_ = size;
  dimensions_ = dimensions;
  return Status::Ok();
}

void ExactIndex::SearchGroup(const float* queries, std::size_t count, std::size_t k,
                             const BitsetView& allow, bool sparse, const SearchRows& out,
                             Scratch* scratch) const {
  scratch->top.resize(kQueryGroup);
  for (std::size_t q = 0; q < count; ++q) scratch->top[q].Start(k);

  if (sparse) {
    for (std::size_t word = 0; word * 32 < size_; ++word) {
      for (std::uint32_t bits = allow.Word(word); bits != 0; bits &= bits - 1) {
        const std::size_t slot = word * 32 + static_cast<std::size_t>(__builtin_ctz(bits));
        for (std::size_t q = 0; q < count; ++q) {
          const float score =
              kernels_->dot(queries + q * dimensions_, vectors_ + slot * dimensions_, dimensions_);
          scratch->top[q].Offer(score, static_cast<std::uint32_t>(slot));
        }
      }
    }
  } else {
    scratch->scores.resize(kQueryGroup * kItemBlock);
    scratch->candidates.resize(kItemBlock);
    for (std::size_t first = 0; first < size_; first += kItemBlock) {
      const std::size_t items = std::min(kItemBlock, size_ - first);
      if (!allow.AnyIn(first, first + items)) continue;
      kernels_->dot_block(queries, dimensions_, count, vectors_ + first * dimensions_, dimensions_,
                          items, dimensions_, scratch->scores.data(), kItemBlock);
      for (std::size_t q = 0; q < count; ++q) {
        const float* scores = scratch->scores.data() + q * kItemBlock;
        TopK& top = scratch->top[q];
        std::size_t i = 0;
        for (; i < items && !top.full(); ++i) {
          if (allow.Test(first + i)) top.Offer(scores[i], static_cast<std::uint32_t>(first + i));
        }
        if (i == items) continue;
        std::uint32_t* candidates = scratch->candidates.data();
        const std::size_t found =
            kernels_->select_above(scores + i, items - i, top.threshold(), candidates);
        for (std::size_t c = 0; c < found; ++c) {
          const std::size_t position = i + candidates[c];
          if (allow.Test(first + position)) {
            top.Offer(scores[position], static_cast<std::uint32_t>(first + position));
          }
        }
      }
    }
  }
  for (std::size_t q = 0; q < count; ++q) {
    out.counts[q] =
        static_cast<std::int32_t>(scratch->top[q].Finish(out.slots + q * k, out.scores + q * k));
  }
}

Status ExactIndex::Search(const float* queries, std::size_t count, std::size_t k,
                          const BitsetView& allow, const SearchRows& out) {
  const Status status = CheckVectors(*kernels_, queries, count, dimensions_, "queries");
  if (!status.ok()) return status;
  const bool sparse = !allow.everything() && allow.Count() < size_ / kSparseFraction;
  const std::size_t groups = (count + kQueryGroup - 1) / kQueryGroup;
  ThreadPool& pool = ThreadPool::Shared();
  try {
    scratch_.resize(pool.size());
    // Reserved here, because a task on the pool must not throw.
    for (Scratch& scratch : scratch_) {
      scratch.scores.resize(kQueryGroup * kItemBlock);
      scratch.candidates.resize(kItemBlock);
      scratch.top.resize(kQueryGroup);
      for (TopK& top : scratch.top) top.Start(k);
    }
  } catch (const std::exception&) {
    return Status::Internal("Out of memory for a search of " + std::to_string(k) + " hits.");
  }
  const auto group = [&](std::size_t index, std::size_t worker) {
    const std::size_t first = index * kQueryGroup;
    const SearchRows rows = {out.slots + first * k, out.scores + first * k, out.counts + first};
    SearchGroup(queries + first * dimensions_, std::min(kQueryGroup, count - first), k, allow,
                sparse, rows, &scratch_[worker]);
  };
  if (count * size_ * dimensions_ >= kParallelWork) {
    pool.ParallelFor(groups, group);
  } else {
    for (std::size_t index = 0; index < groups; ++index) group(index, 0);
  }
  return Status::Ok();
}

Status ExactIndex::Score(const float* query, const std::int32_t* slots, std::size_t count,
                         float* out) const {
  const Status status = CheckVectors(*kernels_, query, 1, dimensions_, "query");
  if (!status.ok()) return status;
  for (std::size_t i = 0; i < count; ++i) {
    if (slots[i] < 0 || static_cast<std::size_t>(slots[i]) >= size_) {
      return Status::OutOfRange("Expected slots below " + std::to_string(size_) +
                                " in slots, received " + std::to_string(slots[i]) + " at " +
                                std::to_string(i) + ".");
    }
    out[i] = kernels_->dot(query, vectors_ + static_cast<std::size_t>(slots[i]) * dimensions_,
                           dimensions_);
  }
  return Status::Ok();
}

}  // namespace tandem
