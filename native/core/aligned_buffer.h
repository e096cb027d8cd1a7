// Owned f32 memory on a cache-line boundary: packed weights, vectors and scratch.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace tandem {

/// Move-only array of floats, 64-byte aligned. Allocation failure leaves data() null: callers check, nothing throws.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer&& other) noexcept { Swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    Swap(other);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() { std::free(data_); }

  /// Makes room for `size` floats, contents undefined. Never shrinks, so scratch allocates only while it still grows.
  bool Reserve(std::size_t size) {
    if (size <= size_) return true;
    if (size > SIZE_MAX / sizeof(float) - kAlignment) return false;
    const std::size_t bytes = (size * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    void* memory = std::aligned_alloc(kAlignment, bytes);
    if (memory == nullptr) return false;
    std::free(data_);
    data_ = static_cast<float*>(memory);
    size_ = size;
    return true;
  }

  float* data() { return data_; }
  const float* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kAlignment = 64;

  void Swap(AlignedBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  float* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace tandem
