#include "test/emulation/tile_unit.h"

#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tandem::emulation {
namespace {

constexpr int kTiles = 8;
constexpr std::size_t kMaxRows = 16;
constexpr std::size_t kMaxRowBytes = 64;

struct Tile {
  std::size_t rows = 0;
  std::size_t row_bytes = 0;
  std::uint8_t data[kMaxRows][kMaxRowBytes] = {};

  template <class T>
  T At(std::size_t row, std::size_t column) const {
    T value;
    std::memcpy(&value, data[row] + column * sizeof(T), sizeof(T));
    return value;
  }
  template <class T>
  void Set(std::size_t row, std::size_t column, T value) {
    std::memcpy(data[row] + column * sizeof(T), &value, sizeof(T));
  }
};

struct Unit {
  bool configured = false;
  Tile tiles[kTiles];
};

thread_local Unit unit;

void FaultIf(bool condition, const char* what) {
  if (!condition) return;
  std::fprintf(stderr, "tile unit: %s\n", what);
  std::abort();
}

Tile& Configured(int tile) {
  FaultIf(!unit.configured, "an instruction without a configuration");
  FaultIf(tile < 0 || tile >= kTiles, "no such tile");
  FaultIf(unit.tiles[tile].rows == 0, "a tile without a shape");
  return unit.tiles[tile];
}

/// Shapes of c [m, n], a [m, k] and b [k, n], all in units of 4 bytes.
void CheckShapes(int c, int a, int b) {
  FaultIf(c == a || c == b || a == b, "one tile as two operands");
  const Tile& out = Configured(c);
  const Tile& left = Configured(a);
  const Tile& right = Configured(b);
  FaultIf(out.row_bytes % 4 != 0 || left.row_bytes % 4 != 0 || right.row_bytes % 4 != 0,
          "rows that are no multiple of 4 bytes");
  FaultIf(out.rows != left.rows, "c and a differ in rows");
  FaultIf(out.row_bytes != right.row_bytes, "c and b differ in columns");
  FaultIf(left.row_bytes / 4 != right.rows, "a's columns differ from b's rows");
}

float Flush(float x) { return std::fabs(x) < FLT_MIN ? std::copysign(0.0f, x) : x; }

}  // namespace

float FromBf16(std::uint16_t x) {
  const std::uint32_t bits = std::uint32_t{x} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return Flush(value);
}

float FlushingFma(float a, float b, float c) { return Flush(std::fma(a, b, Flush(c))); }

void TileLoadConfig(const void* config) {
  std::uint8_t bytes[64];
  std::memcpy(bytes, config, sizeof(bytes));
  FaultIf(bytes[0] > 1, "a palette above 1");
  unit = Unit();
  if (bytes[0] == 0) return;
  for (int i = 1; i < 16; ++i) FaultIf(bytes[i] != 0, "a start row or reserved bytes");
  for (std::size_t tile = 0; tile < 16; ++tile) {
    std::uint16_t row_bytes;
    std::memcpy(&row_bytes, bytes + 16 + 2 * tile, sizeof(row_bytes));
    const std::uint8_t rows = bytes[48 + tile];
    FaultIf(tile >= kTiles && (rows != 0 || row_bytes != 0), "a shape for a tile above 7");
    FaultIf(rows > kMaxRows || row_bytes > kMaxRowBytes, "a shape above 16 rows of 64 bytes");
    FaultIf((rows == 0) != (row_bytes == 0), "a shape of rows without bytes or the reverse");
    if (tile >= kTiles) continue;
    unit.tiles[tile].rows = rows;
    unit.tiles[tile].row_bytes = row_bytes;
  }
  unit.configured = true;
}

void TileRelease() { unit = Unit(); }

bool TilesConfigured() { return unit.configured; }

void TileZero(int tile) {
  Tile& t = Configured(tile);
  std::memset(t.data, 0, sizeof(t.data));
}

void TileLoad(int tile, const void* base, std::ptrdiff_t stride) {
  Tile& t = Configured(tile);
  std::memset(t.data, 0, sizeof(t.data));
  const char* row = static_cast<const char*>(base);
  for (std::size_t r = 0; r < t.rows; ++r) {
    std::memcpy(t.data[r], row + static_cast<std::ptrdiff_t>(r) * stride, t.row_bytes);
  }
}

void TileStore(int tile, void* base, std::ptrdiff_t stride) {
  const Tile& t = Configured(tile);
  char* row = static_cast<char*>(base);
  for (std::size_t r = 0; r < t.rows; ++r) {
    std::memcpy(row + static_cast<std::ptrdiff_t>(r) * stride, t.data[r], t.row_bytes);
  }
}

void TileDotBf16(int c, int a, int b) {
  CheckShapes(c, a, b);
  Tile& out = unit.tiles[c];
  const Tile& left = unit.tiles[a];
  const Tile& right = unit.tiles[b];
  const std::size_t columns = out.row_bytes / 4;
  for (std::size_t m = 0; m < out.rows; ++m) {
    float sums[2 * kMaxRowBytes / 4] = {};
    for (std::size_t k = 0; k < right.rows; ++k) {
      for (std::size_t i = 0; i < 2 * columns; ++i) {
        const float x = FromBf16(left.At<std::uint16_t>(m, 2 * k + i % 2));
        sums[i] = FlushingFma(x, FromBf16(right.At<std::uint16_t>(k, i)), sums[i]);
      }
    }
    for (std::size_t n = 0; n < columns; ++n) {
      const float pair = Flush(sums[2 * n] + sums[2 * n + 1]);
      out.Set(m, n, Flush(Flush(out.At<float>(m, n)) + pair));
    }
  }
}

template <class A, class B>
void TileDot(int c, int a, int b) {
  CheckShapes(c, a, b);
  Tile& out = unit.tiles[c];
  const Tile& left = unit.tiles[a];
  const Tile& right = unit.tiles[b];
  for (std::size_t m = 0; m < out.rows; ++m) {
    for (std::size_t k = 0; k < right.rows; ++k) {
      for (std::size_t n = 0; n < out.row_bytes / 4; ++n) {
        std::int32_t four = 0;
        for (std::size_t i = 0; i < 4; ++i) {
          four += std::int32_t{left.At<A>(m, 4 * k + i)} * std::int32_t{right.At<B>(k, 4 * n + i)};
        }
        out.Set(m, n, out.At<std::uint32_t>(m, n) + static_cast<std::uint32_t>(four));
      }
    }
  }
}

template void TileDot<signed char, signed char>(int, int, int);
template void TileDot<signed char, unsigned char>(int, int, int);
template void TileDot<unsigned char, signed char>(int, int, int);
template void TileDot<unsigned char, unsigned char>(int, int, int);

}  // namespace tandem::emulation
