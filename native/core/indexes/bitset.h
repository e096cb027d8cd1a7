// A borrowed set of rows: bit i of word i >> 5. The layout is that of the allow lists in
// src/retrieval.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem {

class BitsetView {
 public:
  BitsetView() = default;
  /// Null `words` stand for every row; otherwise there are ceil(size / 32) words. Bits past `size`
  /// are ignored.
  BitsetView(const std::uint32_t* words, std::size_t size) : words_(words), size_(size) {}

  bool everything() const { return words_ == nullptr; }

  bool Test(std::size_t row) const {
    return words_ == nullptr || ((words_[row >> 5] >> (row & 31)) & 1u) != 0;
  }

  /// Word `index` with the bits past `size` cleared.
  std::uint32_t Word(std::size_t index) const {
    const std::size_t left = size_ - index * 32;
    return left >= 32 ? words_[index] : words_[index] & ((1u << left) - 1u);
  }

  /// Whether any row in [begin, end) is allowed. `begin` is a multiple of 32.
  bool AnyIn(std::size_t begin, std::size_t end) const {
    if (words_ == nullptr) return true;
    for (std::size_t i = begin / 32; i * 32 < end; ++i) {
      if (Word(i) != 0) return true;
    }
    return false;
  }

 private:
  const std::uint32_t* words_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace tandem
