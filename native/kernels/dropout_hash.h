// The counter-based random numbers of dropout: the seed and the index of a unit alone determine
// whether it is dropped.
#pragma once

#include <stdint.h>

namespace tandem {
namespace {

/// A bijection of 32 bits in which every input bit changes about half of the output bits.
/// @see Wellons, Prospecting for Hash Functions (lowbias32), 2018.
inline uint32_t MixBits(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

/// Uniform over 32 bits. The index is mixed before the seed enters: with one round, the streams of
/// two seeds would be windows of one sequence.
inline uint32_t DropoutHash(uint32_t seed, uint32_t index) {
  return MixBits(MixBits(index) ^ seed);
}

}  // namespace
}  // namespace tandem
