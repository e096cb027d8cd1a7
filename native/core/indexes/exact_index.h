// Exhaustive search by inner product: the oracle of recall tests and the answer where few items are left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/indexes/bitset.h"
#include "core/indexes/search_output.h"
#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "kernels/kernels.h"

namespace tandem {

/// Borrows its vectors: they must outlive the index unchanged. Searches may run at the same time on any threads.
class ExactIndex {
 public:
  explicit ExactIndex(const KernelTable& kernels) : kernels_(&kernels) {}

  /// vectors [size, dimensions], checked to be finite and non-zero. At most 2^31 - 1 rows.
  Status Reset(const float* vectors, std::size_t size, std::size_t dimensions);

  /// Adds 8-bit codes, a byte for each component, which Search then scans instead of the vectors. What rounding can have
  /// done to a score is bounded, and every vector within the bound is scored in f32: the results stay the same.
  Status AddCodes();

  /// The true top k of each of `count` queries [count, dimensions]; ties by lower row. Queries share the vectors' way
  /// from memory in groups; work over 2^24 multiplications is spread over the shared pool, with the same results.
  Status Search(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                const SearchOutput& out) const;

  /// The same among rows [row_count] alone, each at most once. OutOfRange names the position of a bad row.
  Status SearchRows(const float* queries, std::size_t count, std::size_t k,
                    const std::int32_t* rows, std::size_t row_count, const SearchOutput& out) const;

  /// out[i] = inner product of query with vector rows[i]. OutOfRange names the position of a bad row.
  Status Score(const float* query, const std::int32_t* rows, std::size_t count, float* out) const;

  /// Where the vectors are now, for an owner whose memory may move.
  const float* vectors() const { return vectors_; }
  std::size_t size() const { return size_; }
  std::size_t dimensions() const { return dimensions_; }
  const KernelTable& kernels() const { return *kernels_; }

 private:
  /// One step for the codes of a block of items.
  struct CodeBlock {
    float step;
    /// Greatest L2 norm of what rounding lost, and of a vector.
    float error;
    float norm;
  };
  struct Scratch;

  Status CheckRows(const std::int32_t* rows, std::size_t count) const;
  void SearchVectors(const float* queries, std::size_t count, const BitsetView& allow,
                     Scratch* scratch, std::size_t first_top) const;
  /// False, and nothing done, where a bound does not fit f32.
  bool SearchCodes(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                   Scratch* scratch) const;

  const KernelTable* kernels_;
  const float* vectors_ = nullptr;
  std::size_t size_ = 0;
  std::size_t dimensions_ = 0;

  /// Empty without codes.
  std::vector<CodeBlock> blocks_;
  AlignedArray<std::uint8_t> codes_;
};

}  // namespace tandem
