// Borrowed arrays with their lengths: how callers pass arrays to the core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/runtime/aligned_buffer.h"

namespace tandem {

/// `size` elements at `data`, owned by the caller; null for an array that is left out.
template <class T>
struct ArrayView {
  ArrayView() = default;
  ArrayView(T* first, std::size_t count) : data(first), size(count) {}
  /// Converts a view of mutable elements to a view of const elements.
  template <class U, class = std::enable_if_t<std::is_same<const U, T>::value>>
  ArrayView(const ArrayView<U>& other) : data(other.data), size(other.size) {}

  T* data = nullptr;
  std::size_t size = 0;
};

using FloatView = ArrayView<const float>;
using Int32View = ArrayView<const std::int32_t>;
using ByteView = ArrayView<const std::uint8_t>;

/// Copies an array. False when memory is short.
inline bool Copy(const FloatView& from, AlignedBuffer* to) {
  if (!to->Reserve(from.size)) return false;
  if (from.size > 0) std::memcpy(to->data(), from.data, from.size * sizeof(float));
  return true;
}

}  // namespace tandem
