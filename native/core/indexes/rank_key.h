// How hits are ordered, everywhere: higher score first, equal scores by lower row. As one integer, because sorting and
// selecting by two fields was a fifth of a search.
#pragma once

#include <cstdint>
#include <cstring>

namespace tandem {

/// A score and a row; of two keys the greater one ranks first.
using RankKey = std::uint64_t;

/// Score as the high half, so that integers order as the floats do; -0 counts as 0, NaN as -Inf.
inline RankKey MakeRankKey(float score, std::uint32_t row) {
  constexpr std::uint32_t kMinusInfinity = 0x007fffff;
  std::uint32_t order = kMinusInfinity;
  if (score == score) {
    const float positive_zero = score + 0.0f;
    std::uint32_t bits;
    std::memcpy(&bits, &positive_zero, sizeof(bits));
    order = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  }
  return static_cast<RankKey>(order) << 32 | static_cast<std::uint32_t>(~row);
}

inline std::uint32_t RowOf(RankKey key) { return ~static_cast<std::uint32_t>(key); }

inline float ScoreOf(RankKey key) {
  const std::uint32_t order = static_cast<std::uint32_t>(key >> 32);
  const std::uint32_t bits = order >> 31 != 0 ? order & 0x7fffffffu : ~order;
  float score;
  std::memcpy(&score, &bits, sizeof(score));
  return score;
}

}  // namespace tandem
