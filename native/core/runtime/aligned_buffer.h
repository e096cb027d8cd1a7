// Owned memory on a cache-line boundary, for packed weights, vectors, codes and scratch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tandem {

/// Asks for huge pages under [data, data + bytes), whose owner may be somebody else. Rows that are
/// read at random out of 256 MB in 4 KiB pages miss the TLB each time, which costs a fifth of a
/// search over a million vectors. Changes no byte and may have no effect.
inline void PreferHugePages(const void* data, std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t kHugePage = std::uintptr_t{1} << 21;
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = (begin + kHugePage - 1) & ~(kHugePage - 1);
  const std::uintptr_t end = (begin + bytes) & ~(kHugePage - 1);
  if (first >= end) return;
  void* const pages = reinterpret_cast<void*>(first);
  // Advice alone applies to pages that were not touched yet; collapsing moves those that were
  // (Linux 6.1).
  constexpr int kCollapse = 25;
  if (madvise(pages, end - first, MADV_HUGEPAGE) == 0) madvise(pages, end - first, kCollapse);
#else
  static_cast<void>(data);
  static_cast<void>(bytes);
#endif
}

/// A move-only array, 64-byte aligned. Nothing throws: callers check Reserve, and a failed
/// allocation leaves data() as it was.
template <class T>
class AlignedArray {
  static_assert(std::is_trivial<T>::value, "elements are never constructed");

 public:
  AlignedArray() = default;
  AlignedArray(AlignedArray&& other) noexcept { Swap(other); }
  AlignedArray& operator=(AlignedArray&& other) noexcept {
    Swap(other);
    return *this;
  }
  AlignedArray(const AlignedArray&) = delete;
  AlignedArray& operator=(const AlignedArray&) = delete;
  ~AlignedArray() { std::free(data_); }

  /// Makes room for `size` elements with undefined contents. Never shrinks, so scratch only
  /// allocates while it still grows.
  bool Reserve(std::size_t size) {
    if (size <= size_) return true;
    if (size > (SIZE_MAX - kHugePage) / sizeof(T)) return false;
    // Large arrays that are read at random are worth huge pages: a scan of 64 MiB in 4 KiB pages
    // misses the TLB throughout.
    const std::size_t alignment = size * sizeof(T) >= 4 * kHugePage ? kHugePage : kAlignment;
    const std::size_t bytes = (size * sizeof(T) + alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, bytes);
    if (memory == nullptr) return false;
#if defined(__linux__)
    if (alignment == kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    std::free(data_);
    data_ = static_cast<T*>(memory);
    size_ = size;
    return true;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::size_t kHugePage = std::size_t{1} << 21;

  void Swap(AlignedArray& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

using AlignedBuffer = AlignedArray<float>;

}  // namespace tandem
