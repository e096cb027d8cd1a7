// Exhaustive search by inner product. It answers when few items are left, and it is the reference
// for measuring recall.
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

/// Borrows its vectors, which must outlive the index and must not change. Searches may run at the
/// same time on any threads.
class ExactIndex {
 public:
  explicit ExactIndex(const KernelTable& kernels) : kernels_(&kernels) {}

  /// Sets the vectors [size, dimensions], at most 2^31 - 1 rows. They are checked to be finite and
  /// non-zero.
  Status Reset(const float* vectors, std::size_t size, std::size_t dimensions);

  /// Adds 8-bit codes, one byte for each component. Search then scans them instead of the vectors.
  /// The effect of rounding on a score is bounded, and every vector within the bound is scored in
  /// f32, so the results stay the same.
  Status AddCodes();

  /// The true top k of each of `count` queries [count, dimensions], ties by lower row. The queries
  /// of a group share one pass over the vectors. Work of more than 2^24 multiplications is spread
  /// over the shared pool, with the same results.
  Status Search(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                const SearchOutput& out) const;

  /// Search among rows [row_count] only, each given at most once. OutOfRange names the position of
  /// a bad row.
  Status SearchRows(const float* queries, std::size_t count, std::size_t k,
                    const std::int32_t* rows, std::size_t row_count, const SearchOutput& out) const;

  /// out[i] = inner product of the query with the vector of rows[i]. OutOfRange names the position
  /// of a bad row.
  Status Score(const float* query, const std::int32_t* rows, std::size_t count, float* out) const;

  /// Address of the vectors, so that an owner whose memory may move can check it.
  const float* vectors() const { return vectors_; }
  std::size_t size() const { return size_; }
  std::size_t dimensions() const { return dimensions_; }
  const KernelTable& kernels() const { return *kernels_; }

 private:
  /// A block of items and the step of its codes.
  struct CodeBlock {
    float step;
    /// Greatest L2 norm of a rounding error, and of a vector.
    float error;
    float norm;
  };
  struct Scratch;

  Status CheckRows(const std::int32_t* rows, std::size_t count) const;
  void SearchVectors(const float* queries, std::size_t count, const BitsetView& allow,
                     Scratch* scratch, std::size_t first_top) const;
  /// Returns false and does nothing when a bound does not fit f32.
  bool SearchCodes(const float* queries, std::size_t count, std::size_t k, const BitsetView& allow,
                   Scratch* scratch) const;

  const KernelTable* kernels_;
  const float* vectors_ = nullptr;
  std::size_t size_ = 0;
  std::size_t dimensions_ = 0;

  /// Empty when there are no codes.
  std::vector<CodeBlock> blocks_;
  AlignedArray<std::uint8_t> codes_;
};

}  // namespace tandem
