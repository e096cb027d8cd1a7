// AMX's tile unit in software, after the operation sections of Intel's Software Developer's Manual, volume 2. What would
// raise a fault there ends the process here, saying why. State is per thread, as the registers are.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem::emulation {

/// LDTILECFG: palette 0 releases, palette 1 sets shapes and zeroes all tiles.
void TileLoadConfig(const void* config);
/// TILERELEASE.
void TileRelease();
/// Whether this thread holds a configuration that it has not released.
bool TilesConfigured();

void TileZero(int tile);
/// Rows of the tile's shape from memory, `stride` bytes apart; the rest of the tile becomes zero.
void TileLoad(int tile, const void* base, std::ptrdiff_t stride);
void TileStore(int tile, void* base, std::ptrdiff_t stride);

/// TDPBF16PS: sums of even and of odd products apart, then added to each other and to c. Denormals count as zero.
void TileDotBf16(int c, int a, int b);

/// TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD: four products added to each 32-bit sum, which wraps.
template <class A, class B>
void TileDot(int c, int a, int b);
extern template void TileDot<signed char, signed char>(int, int, int);
extern template void TileDot<signed char, unsigned char>(int, int, int);
extern template void TileDot<unsigned char, signed char>(int, int, int);
extern template void TileDot<unsigned char, unsigned char>(int, int, int);

/// A denormal operand counts as zero.
float FromBf16(std::uint16_t x);
/// a b + c, rounded once; denormal operands and results count as zero.
float FlushingFma(float a, float b, float c);

}  // namespace tandem::emulation
