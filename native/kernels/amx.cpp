// AMX: bf16 products and code scans in tiles of 16 rows by 64 bytes, as an overlay of the composed
// avx512 table.
//
// Tiles 0 to 3 accumulate 32 x 32 outputs, 4 and 5 hold rows of a, and 6 and 7 hold columns of b:
// eight loads for four products of 16 cycles. A call configures the tiles and releases them before
// it returns, so that only such calls pay for their 8 KiB in context switches and signal frames.

#include <string.h>

#include "kernels/avx512.h"

namespace tandem {
namespace {

constexpr size_t kTile = 16;
constexpr size_t kTileBytes = 64;
/// Fewer queries leave the tiles mostly empty, and a scan of them waits for memory anyway. bf16
/// products have no such limit: another order of sums for few rows would make results depend on how
/// callers split rows.
constexpr size_t kFewQueries = 4;

/// scan_codes of the table below this overlay, for few queries.
void (*scan_codes_below)(const int8_t*, size_t, size_t, const uint8_t*, size_t, int32_t*, size_t);

/// The configuration that LDTILECFG reads.
struct alignas(64) TileConfig {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64, "LDTILECFG reads 64 bytes");

/// GCC's tile intrinsics do not declare which memory they read, so earlier stores must be complete
/// when they run.
void FinishStores() { __asm__ volatile("" : : : "memory"); }

/// Gives tiles 0, 1 and 4 `first` rows, tiles 2, 3 and 5 `second` rows, if any, and tiles 6 and 7
/// 16 rows.
void Configure(size_t first, size_t second) {
  TileConfig config;
  memset(&config, 0, sizeof(config));
  config.palette = 1;
  const size_t rows[8] = {first, first, second, second, first, second, kTile, kTile};
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = static_cast<uint8_t>(rows[tile]);
    config.row_bytes[tile] = rows[tile] > 0 ? kTileBytes : 0;
  }
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

/// Copies the last bytes of each row, padded with zeros to the width of a tile.
void PadRows(const void* from, ptrdiff_t stride_bytes, size_t rows, size_t bytes,
             uint8_t (*to)[kTileBytes]) {
  const char* row = static_cast<const char*>(from);
  for (size_t r = 0; r < rows; ++r, row += stride_bytes) {
    memset(to[r], 0, kTileBytes);
    memcpy(to[r], row, bytes);
  }
  FinishStores();
}

/// Copies whole lines of b, 64 bytes each. The lines after them in `to` must be finite: they are
/// multiplied by the zeros that pad a.
void CopyLines(const void* from, ptrdiff_t stride_bytes, size_t lines, uint8_t (*to)[kTileBytes]) {
  const char* line = static_cast<const char*>(from);
  for (size_t i = 0; i < lines; ++i, line += stride_bytes) {
    _mm512_store_si512(to[i], _mm512_loadu_si512(line));
  }
  FinishStores();
}

// ---- bf16 ----

/// Elements of k in one step of a product. The rest of k is padded with zeros on both sides.
constexpr size_t kPairStep = kTileBytes / sizeof(uint16_t);

/// Where a tile of outputs is stored: in c itself, or in scratch when columns are cut off or
/// something is added.
struct OutputTile {
  float* to;
  ptrdiff_t stride_bytes;
};

struct OutputScratch {
  alignas(64) float sums[4][kTile][kTile];
};

bool StoresDirectly(const Bf16GemmBlock& g, size_t column) {
  return g.n - column >= kTile && !g.accumulate && g.bias == nullptr && !g.relu;
}

OutputTile PlaceOutput(const Bf16GemmBlock& g, size_t row, size_t column, float (*aside)[kTile]) {
  if (!StoresDirectly(g, column)) return {aside[0], kTile * sizeof(float)};
  return {g.c + static_cast<ptrdiff_t>(row) * g.c_row_stride + column,
          g.c_row_stride * static_cast<ptrdiff_t>(sizeof(float))};
}

void FinishOutput(const Bf16GemmBlock& g, size_t row, size_t rows, size_t column,
                  const float (*aside)[kTile]) {
  if (StoresDirectly(g, column)) return;
  const size_t columns = g.n - column < kTile ? g.n - column : kTile;
  const __mmask16 mask = Avx512::TailMask(columns);
  float* c = g.c + static_cast<ptrdiff_t>(row) * g.c_row_stride + column;
  for (size_t r = 0; r < rows; ++r, c += g.c_row_stride) {
    __m512 y = Avx512::Load(aside[r]);
    if (g.accumulate) y = Avx512::Add(y, Avx512::MaskLoad(c, mask));
    if (g.bias != nullptr) y = Avx512::Add(y, Avx512::MaskLoad(g.bias + column, mask));
    Avx512::MaskStore(c, mask, g.relu ? Avx512::Relu(y) : y);
  }
}

/// Computes up to 32 rows by the panel at `column`. `a_tail` and `b_tail` are read when k leaves a
/// tail.
void Bf16Panel(const Bf16GemmBlock& g, size_t row, size_t first, size_t second, size_t column,
               const uint8_t (*a_tail)[kTileBytes], uint8_t (*b_tail)[kTile][kTileBytes]) {
  constexpr ptrdiff_t kLineBytes = 2 * kTileBytes;
  const ptrdiff_t a_bytes = g.a_row_stride * static_cast<ptrdiff_t>(sizeof(uint16_t));
  const uint16_t* a = g.a + static_cast<ptrdiff_t>(row) * g.a_row_stride;
  const uint16_t* b = g.b + column * g.k;
  const size_t whole = g.k / kPairStep * kPairStep;
  const bool right = g.n - column > kTile;
  _tile_zero(0);
  _tile_zero(1);
  if (second > 0) {
    _tile_zero(2);
    _tile_zero(3);
  }
  const auto step = [=](const void* a_rows, ptrdiff_t a_stride, const void* b_left,
                        const void* b_right, ptrdiff_t b_stride) {
    _tile_loadd(4, a_rows, a_stride);
    _tile_loadd(6, b_left, b_stride);
    _tile_dpbf16ps(0, 4, 6);
    if (right) {
      _tile_loadd(7, b_right, b_stride);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (second == 0) return;
    _tile_loadd(5, static_cast<const char*>(a_rows) + kTile * a_stride, a_stride);
    _tile_dpbf16ps(2, 5, 6);
    if (right) _tile_dpbf16ps(3, 5, 7);
  };
  for (size_t p = 0; p < whole; p += kPairStep) {
    const uint16_t* lines = b + p * 2 * kTile;
    step(a + p, a_bytes, lines, lines + kPairStep, kLineBytes);
  }
  if (whole < g.k) {
    const uint16_t* lines = b + whole * 2 * kTile;
    CopyLines(lines, kLineBytes, (g.k - whole) / 2, b_tail[0]);
    CopyLines(lines + kPairStep, kLineBytes, (g.k - whole) / 2, b_tail[1]);
    step(a_tail, kTileBytes, b_tail[0], b_tail[1], kTileBytes);
  }
  OutputScratch aside;
  const OutputTile t0 = PlaceOutput(g, row, column, aside.sums[0]);
  _tile_stored(0, t0.to, t0.stride_bytes);
  FinishOutput(g, row, first, column, aside.sums[0]);
  if (right) {
    const OutputTile t1 = PlaceOutput(g, row, column + kTile, aside.sums[1]);
    _tile_stored(1, t1.to, t1.stride_bytes);
    FinishOutput(g, row, first, column + kTile, aside.sums[1]);
  }
  if (second == 0) return;
  const OutputTile t2 = PlaceOutput(g, row + kTile, column, aside.sums[2]);
  _tile_stored(2, t2.to, t2.stride_bytes);
  FinishOutput(g, row + kTile, second, column, aside.sums[2]);
  if (right) {
    const OutputTile t3 = PlaceOutput(g, row + kTile, column + kTile, aside.sums[3]);
    _tile_stored(3, t3.to, t3.stride_bytes);
    FinishOutput(g, row + kTile, second, column + kTile, aside.sums[3]);
  }
}

void GemmBf16(const Bf16GemmBlock& g) {
  constexpr size_t kColumnTile = 2 * Avx512::kLanes;
  const size_t tail = g.k % kPairStep;
  alignas(64) uint8_t a_tail[2 * kTile][kTileBytes];
  alignas(64) uint8_t b_tail[2][kTile][kTileBytes];
  // Otherwise NaN could lie there, and 0 times NaN is NaN.
  if (tail > 0) memset(b_tail, 0, sizeof(b_tail));
  for (size_t row = 0; row < g.m; row += 2 * kTile) {
    const size_t rows = g.m - row < 2 * kTile ? g.m - row : 2 * kTile;
    const size_t first = rows < kTile ? rows : kTile;
    Configure(first, rows - first);
    if (tail > 0) {
      PadRows(g.a + static_cast<ptrdiff_t>(row) * g.a_row_stride + (g.k - tail),
              g.a_row_stride * static_cast<ptrdiff_t>(sizeof(uint16_t)), rows,
              tail * sizeof(uint16_t), a_tail);
    }
    for (size_t column = 0; column < g.n; column += kColumnTile) {
      Bf16Panel(g, row, first, rows - first, column, a_tail, b_tail);
    }
  }
  _tile_release();
}

// ---- codes ----

/// Scans two blocks for up to 32 queries, or one block when `pair` is false.
void ScanPair(const int8_t* queries, size_t depth, bool second, const uint8_t* codes, bool pair,
              const uint8_t (*query_tail)[kTileBytes], uint8_t (*code_tail)[kTile][kTileBytes],
              int32_t* sums, ptrdiff_t sum_stride) {
  const size_t whole = depth / kTileBytes * kTileBytes;
  const uint8_t* left = codes;
  const uint8_t* right = codes + depth * kCodeBlock;
  const ptrdiff_t stride = static_cast<ptrdiff_t>(depth);
  _tile_zero(0);
  _tile_zero(1);
  if (second) {
    _tile_zero(2);
    _tile_zero(3);
  }
  // Signed queries times unsigned codes: SUD.
  const auto step = [=](const void* rows, ptrdiff_t row_stride, const void* left_lines,
                        const void* right_lines) {
    _tile_loadd(4, rows, row_stride);
    _tile_loadd(6, left_lines, kTileBytes);
    _tile_dpbsud(0, 4, 6);
    if (pair) {
      _tile_loadd(7, right_lines, kTileBytes);
      _tile_dpbsud(1, 4, 7);
    }
    if (!second) return;
    _tile_loadd(5, static_cast<const char*>(rows) + kTile * row_stride, row_stride);
    _tile_dpbsud(2, 5, 6);
    if (pair) _tile_dpbsud(3, 5, 7);
  };
  for (size_t d = 0; d < whole; d += kTileBytes) {
    step(queries + d, stride, left + d * kCodeBlock, right + d * kCodeBlock);
  }
  if (whole < depth) {
    const size_t lines = (depth - whole) / kCodeGroup;
    CopyLines(left + whole * kCodeBlock, kTileBytes, lines, code_tail[0]);
    if (pair) CopyLines(right + whole * kCodeBlock, kTileBytes, lines, code_tail[1]);
    step(query_tail, kTileBytes, code_tail[0], code_tail[1]);
  }
  const ptrdiff_t sum_bytes = sum_stride * static_cast<ptrdiff_t>(sizeof(int32_t));
  _tile_stored(0, sums, sum_bytes);
  if (pair) _tile_stored(1, sums + kCodeBlock, sum_bytes);
  if (!second) return;
  int32_t* below = sums + static_cast<ptrdiff_t>(kTile) * sum_stride;
  _tile_stored(2, below, sum_bytes);
  if (pair) _tile_stored(3, below + kCodeBlock, sum_bytes);
}

void ScanCodes(const int8_t* queries, size_t query_count, size_t depth, const uint8_t* codes,
               size_t block_count, int32_t* sums, size_t sum_stride) {
  if (query_count < kFewQueries) {
    return scan_codes_below(queries, query_count, depth, codes, block_count, sums, sum_stride);
  }
  const size_t tail = depth % kTileBytes;
  alignas(64) uint8_t query_tail[2 * kTile][kTileBytes];
  alignas(64) uint8_t code_tail[2][kTile][kTileBytes];
  for (size_t q = 0; q < query_count; q += 2 * kTile) {
    const size_t rows = query_count - q < 2 * kTile ? query_count - q : 2 * kTile;
    const size_t first = rows < kTile ? rows : kTile;
    const int8_t* chunk = queries + q * depth;
    Configure(first, rows - first);
    if (tail > 0) {
      PadRows(chunk + (depth - tail), static_cast<ptrdiff_t>(depth), rows, tail, query_tail);
    }
    for (size_t block = 0; block < block_count; block += 2) {
      ScanPair(chunk, depth, rows > first, codes + block * depth * kCodeBlock,
               block + 1 < block_count, query_tail, code_tail,
               sums + q * sum_stride + block * kCodeBlock, static_cast<ptrdiff_t>(sum_stride));
    }
  }
  _tile_release();
}

}  // namespace

void OverlayAmx(KernelTable* table) noexcept {
  scan_codes_below = table->scan_codes;
  table->isa = "amx";
  table->gemm_bf16 = GemmBf16;
  table->scan_codes = ScanCodes;
}

}  // namespace tandem
