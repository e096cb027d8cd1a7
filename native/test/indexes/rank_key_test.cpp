// Keys against the order of the pairs that they stand for: higher score first, then lower row.

#include "core/indexes/rank_key.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "test/check.h"

namespace tandem::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Any bit pattern is a float.
float AnyFloat(Random& random) {
  const std::uint32_t bits = static_cast<std::uint32_t>(random.Below(65536)) << 16 |
                             static_cast<std::uint32_t>(random.Below(65536));
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float Counted(float score) { return std::isnan(score) ? -kInfinity : score; }

void TestOrder() {
  Random random(30);
  const float special[] = {0.0f,
                           -0.0f,
                           kInfinity,
                           -kInfinity,
                           std::nanf(""),
                           std::numeric_limits<float>::denorm_min(),
                           -std::numeric_limits<float>::denorm_min(),
                           std::numeric_limits<float>::max(),
                           -std::numeric_limits<float>::max()};
  const auto draw = [&] {
    return random.Below(3) == 0 ? special[random.Below(9)] : AnyFloat(random);
  };
  for (int round = 0; round < 200000; ++round) {
    const float a = draw();
    const float b = random.Below(4) == 0 ? a : draw();
    const std::uint32_t row_a = static_cast<std::uint32_t>(random.Below(5));
    const std::uint32_t row_b = 0xffffffffu - static_cast<std::uint32_t>(random.Below(5));
    const RankKey key_a = MakeRankKey(a, row_a);
    const RankKey key_b = MakeRankKey(b, row_b);
    const bool first = Counted(a) > Counted(b) || (Counted(a) == Counted(b) && row_a < row_b);
    CHECK((key_a > key_b) == first);
    CHECK(RowOf(key_a) == row_a && RowOf(key_b) == row_b);
    CHECK(ScoreOf(key_a) == Counted(a));
  }
}

}  // namespace
}  // namespace tandem::test

int main() {
  tandem::test::TestOrder();
  return tandem::test::Finish("rank_key");
}
