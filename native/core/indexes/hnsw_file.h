// The file format of usearch 2.x, and the check of a file before usearch may read it. usearch
// trusts the bytes, and one flipped bit crashes it one time in three.
//
// Layout, little-endian, no padding (save_to_stream in usearch's index_dense.hpp and index.hpp):
//
//   u32 rows, u32 bytes per row, rows x bytes of vectors;
//   64-byte head: "usearch", 3 x u16 version, the kinds of metric, vectors, keys and node numbers
//   (u8 each), u64 present, u64 deleted, u64 dimensions, u8 multi;
//   u64 size, connectivity M, base connectivity M0, max level, entry node; i16 level of each node;
//   for each node: u64 key, i16 level, u32 count and M0 x u32 neighbours on the base level, then
//   u32 count and M x u32 neighbours for each upper level.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "core/runtime/status.h"
#include "kernels/kernels.h"

namespace tandem {

constexpr std::size_t kHnswHeadBytes = 64;
constexpr std::size_t kHnswNodeHeadBytes = sizeof(std::uint64_t) + sizeof(std::int16_t);
constexpr std::size_t kMaxConnectivity = 1024;

/// Reads a value at an address of any alignment.
template <class T>
T LoadAt(const std::uint8_t* address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

/// usearch's numbers for the files that this build writes and reads. hnsw_index.cpp provides them,
/// because it is the only file that includes usearch.
struct HnswFileKinds {
  std::uint16_t version_major;
  const char* version;
  std::uint8_t metric;
  std::uint8_t vectors;
  std::uint8_t keys;
  std::uint8_t nodes;
};

/// IndexInvalid with the reason in `what`, and the remedy.
Status HnswFileInvalid(const std::string& what);

/// Checks every count, level, key, neighbour and vector of a file. IndexInvalid says what is wrong.
///
/// rows_out  receives the number of vectors in the file.
Status CheckHnswFile(const std::uint8_t* bytes, std::size_t size_bytes, std::size_t dimensions,
                     const HnswFileKinds& kinds, const KernelTable& kernels, std::size_t* rows_out);

}  // namespace tandem
