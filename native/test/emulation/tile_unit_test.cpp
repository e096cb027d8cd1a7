// The software tile unit against plain sums, and the cases in which it follows the manual instead:
// order, denormals, shapes.

#include "test/emulation/tile_unit.h"

#include <cfloat>
#include <cstring>

#include "test/check.h"

namespace tandem::test {
namespace {

using namespace tandem::emulation;

struct alignas(64) Config {
  std::uint8_t palette = 1;
  std::uint8_t reserved[15] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

/// Configures c [m, n] in tile 0, a [m, k] in 1 and b [k, n] in 2, all in units of 4 bytes.
void Configure(std::size_t m, std::size_t n, std::size_t k) {
  Config config;
  const std::size_t rows[3] = {m, m, k};
  const std::size_t columns[3] = {n, k, n};
  for (int tile = 0; tile < 3; ++tile) {
    config.rows[tile] = static_cast<std::uint8_t>(rows[tile]);
    config.row_bytes[tile] = static_cast<std::uint16_t>(4 * columns[tile]);
  }
  TileLoadConfig(&config);
}

std::uint16_t ToBf16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return static_cast<std::uint16_t>(bits >> 16);
}

template <class A, class B>
void TestBytes(Random& random) {
  for (int round = 0; round < 50; ++round) {
    const std::size_t m = 1 + random.Below(16), n = 1 + random.Below(16), k = 1 + random.Below(16);
    std::vector<A> a(m * 4 * k);
    std::vector<B> b(k * 4 * n);
    for (A& x : a) x = static_cast<A>(random.Next());
    for (B& x : b) x = static_cast<B>(random.Next());
    std::vector<std::int32_t> c(m * 20, 7);
    Configure(m, n, k);
    TileLoad(0, c.data(), 80);
    TileLoad(1, a.data(), static_cast<std::ptrdiff_t>(4 * k));
    TileLoad(2, b.data(), static_cast<std::ptrdiff_t>(4 * n));
    TileDot<A, B>(0, 1, 2);
    TileStore(0, c.data(), 80);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < 20; ++j) {
        std::int32_t expected = 7;
        for (std::size_t p = 0; p < 4 * k && j < n; ++p) {
          expected += std::int32_t{a[i * 4 * k + p]} * std::int32_t{b[(p / 4 * n + j) * 4 + p % 4]};
        }
        CHECK(c[i * 20 + j] == expected);
      }
    }
  }
  CHECK(TilesConfigured());
  TileRelease();
  CHECK(!TilesConfigured());
}

/// c + a b for one output and pairs (a, b).
float DotPairs(float c, const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<std::uint16_t> left, right;
  for (const float x : a) left.push_back(ToBf16(x));
  for (const float x : b) right.push_back(ToBf16(x));
  Configure(1, 1, a.size() / 2);
  TileLoad(0, &c, 4);
  TileLoad(1, left.data(), 64);
  TileLoad(2, right.data(), 4);
  TileDotBf16(0, 1, 2);
  TileStore(0, &c, 4);
  TileRelease();
  return c;
}

void TestBf16(Random& random) {
  for (int round = 0; round < 50; ++round) {
    const std::size_t m = 1 + random.Below(16), n = 1 + random.Below(16), k = 1 + random.Below(16);
    std::vector<std::uint16_t> a(m * 2 * k), b(k * 2 * n);
    std::vector<int> a_values(a.size()), b_values(b.size());
    const auto fill = [&random](std::vector<int>* values, std::vector<std::uint16_t>* codes) {
      for (std::size_t i = 0; i < values->size(); ++i) {
        (*values)[i] = static_cast<int>(random.Below(17)) - 8;
        (*codes)[i] = ToBf16(static_cast<float>((*values)[i]));
      }
    };
    fill(&a_values, &a);
    fill(&b_values, &b);
    std::vector<float> c(m * n, 0.5f);
    Configure(m, n, k);
    TileLoad(0, c.data(), static_cast<std::ptrdiff_t>(4 * n));
    TileLoad(1, a.data(), static_cast<std::ptrdiff_t>(4 * k));
    TileLoad(2, b.data(), static_cast<std::ptrdiff_t>(4 * n));
    TileDotBf16(0, 1, 2);
    TileStore(0, c.data(), static_cast<std::ptrdiff_t>(4 * n));
    TileRelease();
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        int sum = 0;
        for (std::size_t p = 0; p < 2 * k; ++p) {
          sum += a_values[i * 2 * k + p] * b_values[(p / 2 * n + j) * 2 + p % 2];
        }
        CHECK(c[i * n + j] == static_cast<float>(sum) + 0.5f);
      }
    }
  }
  // Even and odd products are summed separately: 2^24 + 1 rounds to 2^24, but 1 + 1 beside it
  // survives.
  const float big = 0x1p24f;
  CHECK(DotPairs(0, {big, 1, 1, 0}, {1, 1, 1, 0}) == big);
  CHECK(DotPairs(0, {big, 1, 0, 1}, {1, 1, 0, 1}) == big + 2);
  // The sum of a tile is added to c last.
  CHECK(DotPairs(big, {1, 1}, {1, 1}) == big + 2);
  // Denormal operands, products and sums count as zero.
  CHECK(DotPairs(0, {FLT_MIN / 4, 0}, {1024, 0}) == 0.0f);
  CHECK(DotPairs(0, {FLT_MIN, 0}, {0.5f, 0}) == 0.0f);
  CHECK(DotPairs(FLT_MIN / 2, {FLT_MIN, 0}, {1, 0}) == FLT_MIN);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  Random random(70);
  TestBytes<signed char, signed char>(random);
  TestBytes<signed char, unsigned char>(random);
  TestBytes<unsigned char, signed char>(random);
  TestBytes<unsigned char, unsigned char>(random);
  TestBf16(random);
  return Finish("tile_unit");
}
