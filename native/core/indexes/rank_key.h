// The order of hits, everywhere: higher score first, equal scores by lower row. It is one integer,
// because sorting and selecting by two fields took a fifth of a search.
#pragma once

#include <cstdint>
#include <cstring>

namespace tandem {

/// A score and a row. Of two keys, the greater one ranks first.
using RankKey = std::uint64_t;

/// The score is the high half, in a form whose integer order is the order of the floats. -0 counts
/// as 0, and NaN as -Inf.
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
