// Reads 4 bytes of any alignment as one integer: a pair of bf16 values, or a group of code
// components.
#pragma once

#include <stdint.h>
#include <string.h>

namespace tandem {
namespace {

inline int32_t LoadInt(const void* p) {
  int32_t x;
  memcpy(&x, p, sizeof(x));
  return x;
}

}  // namespace
}  // namespace tandem
