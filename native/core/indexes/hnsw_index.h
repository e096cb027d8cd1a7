// Approximate inner-product search over a usearch HNSW graph. usearch itself stays inside hnsw_index.cpp.
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
  /// Threads that add; with 1 the graph is a function of the vectors and options alone.
  std::size_t threads = 1;
};

/// Keys are 0..size-1, the positions of the vectors; scores are inner products by our own kernel, equal to
/// ExactIndex::Score to the last bit. Every node can be found. Searches may run at the same time on any threads; those
/// with one expansion side by side, one with another alone (usearch keeps it in the index).
class HnswIndex {
 public:
  ~HnswIndex();
  HnswIndex(const HnswIndex&) = delete;
  HnswIndex& operator=(const HnswIndex&) = delete;

  /// Takes over `vectors` [size, dimensions], already checked by CheckVectors. `added` counts up while it runs; setting
  /// `cancel` ends it early with kInternal. Blocks: call it off the JavaScript thread.
  static Status Build(AlignedBuffer vectors, std::size_t size, std::size_t dimensions,
                      const HnswBuildOptions& options, const KernelTable& kernels,
                      std::atomic<std::size_t>* added, std::unique_ptr<HnswIndex>* index);

  /// Copies `bytes` after checking every count, level, key and neighbour slot: usearch itself trusts the file, and one
  /// flipped bit crashes it one time in three. IndexInvalid says what is wrong.
  static Status Load(const std::uint8_t* bytes, std::size_t size_bytes, std::size_t dimensions,
                     const KernelTable& kernels, std::unique_ptr<HnswIndex>* index);

  /// Top k found with max(expansion, k) candidates; counts are what was found, fewer than k for a tight filter.
  Status Search(const float* queries, std::size_t count, std::size_t k, std::size_t expansion,
                const BitsetView& allow, const SearchOutput& out) const;

  /// Bytes that Serialize writes.
  std::size_t SerializedSize() const;
  /// Writes usearch's own file format, vectors included; `size_bytes` is SerializedSize().
  Status Serialize(std::uint8_t* out, std::size_t size_bytes) const;

  std::size_t size() const { return size_; }
  std::size_t dimensions() const { return dimensions_; }
  std::size_t connectivity() const;
  const KernelTable& kernels() const { return *kernels_; }

 private:
  struct Graph;
  HnswIndex();
  /// Makes every node one that a search can find.
  Status Connect();

  const KernelTable* kernels_ = nullptr;
  std::size_t size_ = 0;
  std::size_t dimensions_ = 0;
  /// Vectors of a built index; a loaded one keeps them inside usearch.
  AlignedBuffer vectors_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace tandem
