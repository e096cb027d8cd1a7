// AMX's tile unit in software, after the operation sections of Intel's Software Developer's Manual,
// volume 2. Whatever would raise a fault there ends the process here and prints the reason. Each
// thread has its own state, as it has its own registers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem::emulation {

/// LDTILECFG: palette 0 releases the tiles, palette 1 sets shapes and zeroes all tiles.
void TileLoadConfig(const void* config);
/// TILERELEASE.
void TileRelease();
/// Whether this thread has a configuration that it has not released.
bool TilesConfigured();

void TileZero(int tile);
/// Loads rows of the tile's shape from memory, `stride` bytes apart. The rest of the tile becomes
/// zero.
void TileLoad(int tile, const void* base, std::ptrdiff_t stride);
void TileStore(int tile, void* base, std::ptrdiff_t stride);

/// TDPBF16PS: even and odd products are summed separately, then added to each other and to c.
/// Denormals count as zero.
void TileDotBf16(int c, int a, int b);

/// TDPBSSD, TDPBSUD, TDPBUSD and TDPBUUD add four products to each 32-bit sum, which wraps.
template <class A, class B>
void TileDot(int c, int a, int b);
extern template void TileDot<signed char, signed char>(int, int, int);
extern template void TileDot<signed char, unsigned char>(int, int, int);
extern template void TileDot<unsigned char, signed char>(int, int, int);
extern template void TileDot<unsigned char, unsigned char>(int, int, int);

/// Widens a bf16 value. A denormal counts as zero.
float FromBf16(std::uint16_t x);
/// a b + c, rounded once. Denormal operands and results count as zero.
float FlushingFma(float a, float b, float c);

}  // namespace tandem::emulation
