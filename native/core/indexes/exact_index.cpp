// A blocked scan: the queries of a group share each block of items while it is in the first-level
// cache.

#include "core/indexes/exact_index.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <string>

#include "core/indexes/candidate_pool.h"
#include "core/indexes/codes.h"
#include "core/indexes/vector_checks.h"
#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

/// Items in a block: 256 x 64 floats are 64 KiB, half the smallest L2 in use; their codes are 16
/// KiB. A multiple of 32 for the bitset, and of kCodeBlock.
constexpr std::size_t kItemBlock = 256;
/// Queries in a group: 8 rows of scores stay in L1, and dot_block shares each load of an item among
/// four queries.
constexpr std::size_t kQueryGroup = 8;
/// Queries in a group over codes: the rows of one AMX tile. The sums of a block are 16 KiB.
constexpr std::size_t kCodedQueryGroup = 16;
/// Vectors are prefetched this many rows ahead of the one being scored.
constexpr std::size_t kAhead = 8;
constexpr std::size_t kParallelWork = std::size_t{1} << 24;
/// Bounds are computed in f32, so this share is added to them.
constexpr float kRounding = 1e-5f;

Status OutOfMemory(std::size_t k) {
  return Status::Internal("Out of memory for a search of " + std::to_string(k) + " hits.");
}

}  // namespace

struct ExactIndex::Scratch {
  TopK top[kCodedQueryGroup];
  CandidatePool pools[kCodedQueryGroup];
  QueryCode codes[kCodedQueryGroup];
  std::vector<std::int8_t> query_codes;
  float scores[kQueryGroup * kItemBlock];
  std::int32_t sums[kCodedQueryGroup * kItemBlock];
  std::uint32_t above[kItemBlock];
};

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
  blocks_.clear();
  return Status::Ok();
}

Status ExactIndex::AddCodes() {
  if (dimensions_ > kMaxCodeDepth) {
    return Status::OutOfRange("Expected at most " + std::to_string(kMaxCodeDepth) +
                              " dimensions for codes, received " + std::to_string(dimensions_) +
                              ".");
  }
  const std::size_t depth = CodeDepth(dimensions_);
  const std::size_t count = (size_ + kItemBlock - 1) / kItemBlock;
  try {
    std::vector<CodeBlock> blocks(count);
    if (!codes_.Reserve(count * kItemBlock * depth)) {
      return Status::Internal("Out of memory for the codes of an index.");
    }
    ThreadPool::Shared().ParallelFor(count, [&](std::size_t block, std::size_t /*worker*/) {
      const std::size_t first = block * kItemBlock;
      const std::size_t items = std::min(kItemBlock, size_ - first);
      const float* rows = vectors_ + first * dimensions_;
      std::uint8_t* codes = codes_.data() + first * depth;
      float largest = 0.0f;
      for (std::size_t i = 0; i < items * dimensions_; ++i) {
        largest = std::max(largest, std::fabs(rows[i]));
      }
      CodeBlock& made = blocks[block];
      made.step = CodeStep(largest, kMaxCode);
      std::memset(codes, kCodeZero, kItemBlock * depth);
      double lost = 0.0;
      double squares = 0.0;
      for (std::size_t i = 0; i < items; ++i) {
        const float* row = rows + i * dimensions_;
        lost = std::max(lost, WriteCode(row, dimensions_, made.step, i, codes));
        double norm = 0.0;
        for (std::size_t d = 0; d < dimensions_; ++d) {
          norm += static_cast<double>(row[d]) * static_cast<double>(row[d]);
        }
        squares = std::max(squares, norm);
      }
      made.error = static_cast<float>(std::sqrt(lost)) * (1.0f + kRounding);
      made.norm = static_cast<float>(std::sqrt(squares)) * (1.0f + kRounding);
    });
    blocks_ = std::move(blocks);
    return Status::Ok();
  } catch (const std::exception&) {
    return Status::Internal("Out of memory for the codes of an index.");
  }
}

void ExactIndex::SearchVectors(const float* queries, std::size_t count, const BitsetView& allow,
                               Scratch* s, std::size_t first_top) const {
  for (std::size_t first = 0; first < size_; first += kItemBlock) {
    const std::size_t items = std::min(kItemBlock, size_ - first);
    if (!allow.AnyIn(first, first + items)) continue;
    kernels_->dot_block(queries, dimensions_, count, vectors_ + first * dimensions_, dimensions_,
                        items, dimensions_, s->scores, kItemBlock);
    for (std::size_t q = 0; q < count; ++q) {
      const float* scores = s->scores + q * kItemBlock;
      TopK& top = s->top[first_top + q];
      std::size_t i = 0;
      for (; i < items && !top.full(); ++i) {
        if (allow.Test(first + i)) top.Offer(scores[i], static_cast<std::uint32_t>(first + i));
      }
      if (i == items) continue;
      const std::size_t found =
          kernels_->select_above(scores + i, items - i, top.threshold(), s->above);
      for (std::size_t c = 0; c < found; ++c) {
        const std::size_t position = i + s->above[c];
        if (allow.Test(first + position)) {
          top.Offer(scores[position], static_cast<std::uint32_t>(first + position));
        }
      }
    }
  }
}

bool ExactIndex::SearchCodes(const float* queries, std::size_t count, std::size_t k,
                             const BitsetView& allow, Scratch* s) const {
  const std::size_t depth = CodeDepth(dimensions_);
  s->query_codes.resize(kCodedQueryGroup * depth);
  float norm = 0.0f;
  float error = 0.0f;
  for (const CodeBlock& block : blocks_) {
    norm = std::max(norm, block.norm);
    error = std::max(error, block.error);
  }
  for (std::size_t q = 0; q < count; ++q) {
    const float* query = queries + q * dimensions_;
    s->codes[q] = WriteQueryCode(query, dimensions_, s->query_codes.data() + q * depth);
    const float length = std::sqrt(kernels_->dot(query, query, dimensions_));
    // Let q' and v' be q and v decoded: q . v - q' . v' = (q - q') . v' + q . (v - v'), and
    // |v'| <= |v| + |v - v'|. Of two candidates, the one that is worse by twice the bound cannot be
    // the better one.
    const float bound =
        s->codes[q].error * (norm + error) + length * error + kRounding * length * norm;
    if (!std::isfinite(bound)) return false;
    s->pools[q].Start(k, 2.0f * bound);
  }
  for (std::size_t block = 0; block < blocks_.size(); ++block) {
    const std::size_t first = block * kItemBlock;
    const std::size_t items = std::min(kItemBlock, size_ - first);
    if (!allow.AnyIn(first, first + items)) continue;
    kernels_->scan_codes(s->query_codes.data(), count, depth, codes_.data() + first * depth,
                         (items + kCodeBlock - 1) / kCodeBlock, s->sums, kItemBlock);
    for (std::size_t q = 0; q < count; ++q) {
      const std::int32_t* sums = s->sums + q * kItemBlock;
      CandidatePool& pool = s->pools[q];
      const float scale = blocks_[block].step * s->codes[q].step;
      const std::int32_t zero = s->codes[q].zero;
      const std::size_t found = kernels_->select_above_int(
          sums, items, SumLimit(pool.threshold(), 0.0f, scale, zero), s->above);
      for (std::size_t i = 0; i < found; ++i) {
        const std::size_t row = first + s->above[i];
        if (!allow.Test(row)) continue;
        pool.Add(scale * static_cast<float>(sums[s->above[i]] - zero),
                 static_cast<std::uint32_t>(row));
      }
      pool.Settle();
    }
  }
  for (std::size_t q = 0; q < count; ++q) {
    s->pools[q].Close(vectors_, dimensions_);
    s->pools[q].Rescore(*kernels_, queries + q * dimensions_, vectors_, dimensions_, &s->top[q]);
  }
  return true;
}

Status ExactIndex::Search(const float* queries, std::size_t count, std::size_t k,
                          const BitsetView& allow, const SearchOutput& out) const {
  const Status status = CheckVectors(*kernels_, queries, count, dimensions_, "queries");
  if (!status.ok()) return status;
  const bool coded = !blocks_.empty();
  const std::size_t most = coded ? kCodedQueryGroup : kQueryGroup;
  ThreadPool& pool = ThreadPool::Shared();
  const bool parallel = count > 1 && count * size_ * dimensions_ >= kParallelWork;
  // With few queries, groups are smaller, so that every thread has one.
  const std::size_t share = (count + pool.size() - 1) / pool.size();
  const std::size_t width = parallel ? std::max<std::size_t>(1, std::min(most, share)) : most;
  std::atomic<bool> enough{true};
  const auto group = [&](std::size_t index, std::size_t /*worker*/) {
    thread_local Scratch scratch;
    const std::size_t first = index * width;
    const std::size_t queries_here = std::min(width, count - first);
    const float* rows = queries + first * dimensions_;
    try {
      for (std::size_t q = 0; q < queries_here; ++q) scratch.top[q].Start(k);
      if (!coded || !SearchCodes(rows, queries_here, k, allow, &scratch)) {
        for (std::size_t q = 0; q < queries_here; q += kQueryGroup) {
          SearchVectors(rows + q * dimensions_, std::min(kQueryGroup, queries_here - q), allow,
                        &scratch, q);
        }
      }
    } catch (const std::exception&) {
      enough = false;
      return;
    }
    for (std::size_t q = 0; q < queries_here; ++q) {
      const std::size_t row = first + q;
      out.counts[row] = static_cast<std::int32_t>(
          scratch.top[q].Finish(out.rows + row * k, out.scores + row * k));
    }
  };
  const std::size_t groups = (count + width - 1) / width;
  if (parallel) {
    pool.ParallelFor(groups, group);
  } else {
    for (std::size_t index = 0; index < groups; ++index) group(index, 0);
  }
  return enough ? Status::Ok() : OutOfMemory(k);
}

Status ExactIndex::CheckRows(const std::int32_t* rows, std::size_t count) const {
  for (std::size_t i = 0; i < count; ++i) {
    if (rows[i] < 0 || static_cast<std::size_t>(rows[i]) >= size_) {
      return Status::OutOfRange("Expected rows below " + std::to_string(size_) +
                                " in rows, received " + std::to_string(rows[i]) + " at " +
                                std::to_string(i) + ".");
    }
  }
  return Status::Ok();
}

Status ExactIndex::SearchRows(const float* queries, std::size_t count, std::size_t k,
                              const std::int32_t* rows, std::size_t row_count,
                              const SearchOutput& out) const {
  Status status = CheckVectors(*kernels_, queries, count, dimensions_, "queries");
  if (status.ok()) status = CheckRows(rows, row_count);
  if (!status.ok()) return status;
  const auto vector_of = [&](std::size_t i) {
    return vectors_ + static_cast<std::size_t>(rows[i]) * dimensions_;
  };
  try {
    thread_local TopK top;
    for (std::size_t q = 0; q < count; ++q) {
      top.Start(k);
      for (std::size_t i = 0; i < row_count; ++i) {
        if (i + kAhead < row_count) {
          for (std::size_t d = 0; d < dimensions_; d += 16) {
            __builtin_prefetch(vector_of(i + kAhead) + d);
          }
        }
        top.Offer(kernels_->dot(queries + q * dimensions_, vector_of(i), dimensions_),
                  static_cast<std::uint32_t>(rows[i]));
      }
      out.counts[q] = static_cast<std::int32_t>(top.Finish(out.rows + q * k, out.scores + q * k));
    }
  } catch (const std::exception&) {
    return OutOfMemory(k);
  }
  return Status::Ok();
}

Status ExactIndex::Score(const float* query, const std::int32_t* rows, std::size_t count,
                         float* out) const {
  Status status = CheckVectors(*kernels_, query, 1, dimensions_, "query");
  if (status.ok()) status = CheckRows(rows, count);
  if (!status.ok()) return status;
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = kernels_->dot(query, vectors_ + static_cast<std::size_t>(rows[i]) * dimensions_,
                           dimensions_);
  }
  return Status::Ok();
}

}  // namespace tandem
