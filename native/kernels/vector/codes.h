// Integer inner products of quantised queries with 8-bit codes.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "kernels/vector/load_int.h"

namespace tandem {

/// KernelTable::scan_codes and select_above_int over the register type V, whose DotCodes multiplies
/// codes with a group of query components.
template <class V>
struct VectorCodes {
  static constexpr size_t kLanes = V::kLanes;

  /// Memory is prefetched this far ahead of the block in hand: 4 queries then scan codes from
  /// memory at 700 million products a second instead of 600 (64 components, AVX2). Any address may
  /// be prefetched.
  static constexpr size_t kPrefetchBytes = 4096;

  /// Scans one block for Q queries. `starts` [Q] makes up for what kCodeOffset took from the codes.
  template <int Q>
  static void ScanTile(const int8_t* queries, size_t depth, const uint8_t* codes,
                       const int32_t* starts, int32_t* sums, size_t sum_stride) {
    typename V::CodeSums totals[Q];
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) totals[q] = V::StartSums(starts[q]);
    for (size_t d = 0; d < depth; d += kCodeGroup, codes += kCodeBlock * kCodeGroup) {
      const typename V::Codes items = V::LoadCodes(codes);
      __builtin_prefetch(codes + kPrefetchBytes);
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) {
        const auto group = V::BroadcastGroup(LoadInt(queries + static_cast<size_t>(q) * depth + d));
        totals[q] = V::DotCodes(items, group, totals[q]);
      }
    }
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      V::StoreCodeSums(sums + static_cast<size_t>(q) * sum_stride, totals[q]);
    }
  }

  /// Calls ScanTile with `left` <= Q as a template argument.
  template <int Q>
  static void ScanRows(size_t left, const int8_t* queries, size_t depth, const uint8_t* codes,
                       const int32_t* starts, int32_t* sums, size_t sum_stride) {
    if constexpr (Q > 1) {
      if (left < Q) {
        return ScanRows<Q - 1>(left, queries, depth, codes, starts, sums, sum_stride);
      }
    }
    ScanTile<Q>(queries, depth, codes, starts, sums, sum_stride);
  }

  /// Queries that are scanned at a time: `starts` has a bound, and the queries stay in the L1
  /// cache.
  static constexpr size_t kQueryChunk = 64;

  /// Scans block after block, also for a single query: several blocks at once, each a stream of its
  /// own, took 1.4 times as long when codes come from memory.
  static void ScanChunk(const int8_t* queries, size_t query_count, size_t depth,
                        const uint8_t* codes, size_t block_count, int32_t* sums,
                        size_t sum_stride) {
    constexpr size_t kQueries = V::kScanQueries;
    int32_t starts[kQueryChunk] = {};
    if constexpr (V::kCodeOffset != 0) {
      for (size_t q = 0; q < query_count; ++q) {
        int32_t sum = 0;
        for (size_t d = 0; d < depth; ++d) sum += queries[q * depth + d];
        starts[q] = sum * V::kCodeOffset;
      }
    }
    for (size_t block = 0; block < block_count; ++block) {
      for (size_t q = 0; q < query_count; q += kQueries) {
        const size_t left = query_count - q < kQueries ? query_count - q : kQueries;
        ScanRows<V::kScanQueries>(left, queries + q * depth, depth, codes, starts + q,
                                  sums + q * sum_stride, sum_stride);
      }
      codes += depth * kCodeBlock;
      sums += kCodeBlock;
    }
  }

  static void Scan(const int8_t* queries, size_t query_count, size_t depth, const uint8_t* codes,
                   size_t block_count, int32_t* sums, size_t sum_stride) {
    for (size_t q = 0; q < query_count; q += kQueryChunk) {
      const size_t count = query_count - q < kQueryChunk ? query_count - q : kQueryChunk;
      ScanChunk(queries + q * depth, count, depth, codes, block_count, sums + q * sum_stride,
                sum_stride);
    }
  }

  static size_t SelectAboveInt(const int32_t* sums, size_t n, int32_t threshold, uint32_t* out) {
    size_t count = 0;
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (uint32_t bits = V::GreaterBitsInt(sums + i, threshold); bits != 0; bits &= bits - 1) {
        out[count++] = static_cast<uint32_t>(i) + static_cast<uint32_t>(__builtin_ctz(bits));
      }
    }
    for (; i < n; ++i) {
      if (sums[i] > threshold) out[count++] = static_cast<uint32_t>(i);
    }
    return count;
  }
};

}  // namespace tandem
