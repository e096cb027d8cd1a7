// Approximate inner-product search over a usearch HNSW graph. Only hnsw_index.cpp includes usearch.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/indexes/bitset.h"
#include "core/indexes/search_output.h"
#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "kernels/kernels.h"

namespace tandem {

const char* UsearchVersion();

struct HnswBuildOptions {
  /// usearch's M; 0 = its default.
  std::size_t connectivity = 0;
  /// usearch's efConstruction; 0 = its default.
  std::size_t expansion_add = 0;
  /// Threads that add vectors. With 1, the graph is a function of the vectors and options alone.
  std::size_t threads = 1;
};

/// Keys are 0 to size - 1, the rows of the vectors. Scores are inner products by our own kernel and
/// equal ExactIndex::Score to the last bit. A search can reach every node. Searches may run at the
/// same time on any threads: those with the same expansion side by side, one with another expansion
/// alone, because usearch keeps the expansion in the index.
class HnswIndex {
 public:
  ~HnswIndex();
  HnswIndex(const HnswIndex&) = delete;
  HnswIndex& operator=(const HnswIndex&) = delete;

  /// Takes ownership of `vectors` [size, dimensions], which CheckVectors has checked. `added`
  /// counts up while it runs. Blocks, so call it off the JavaScript thread.
  static Status Build(AlignedBuffer vectors, std::size_t size, std::size_t dimensions,
                      const HnswBuildOptions& options, const KernelTable& kernels,
                      std::atomic<std::size_t>* added, std::unique_ptr<HnswIndex>* index);

  /// Copies `bytes` after checking them as hnsw_file.h describes. IndexInvalid says what is wrong.
  static Status Load(const std::uint8_t* bytes, std::size_t size_bytes, std::size_t dimensions,
                     const KernelTable& kernels, std::unique_ptr<HnswIndex>* index);

  /// The top k found with max(expansion, k) candidates. The counts say how many were found: fewer
  /// than k when a filter allows few.
  Status Search(const float* queries, std::size_t count, std::size_t k, std::size_t expansion,
                const BitsetView& allow, const SearchOutput& out) const;

  /// Number of bytes that Serialize writes.
  std::size_t SerializedSize() const;
  /// Writes usearch's file format, vectors included. `size_bytes` is SerializedSize().
  Status Serialize(std::uint8_t* out, std::size_t size_bytes) const;

  std::size_t size() const { return size_; }
  std::size_t dimensions() const { return dimensions_; }
  std::size_t connectivity() const;
  const KernelTable& kernels() const { return *kernels_; }

 private:
  struct Graph;
  HnswIndex();
  /// Adds links until a search can reach every node.
  Status Connect();

  const KernelTable* kernels_ = nullptr;
  std::size_t size_ = 0;
  std::size_t dimensions_ = 0;
  /// The vectors of a built index. A loaded index keeps them inside usearch.
  AlignedBuffer vectors_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace tandem
