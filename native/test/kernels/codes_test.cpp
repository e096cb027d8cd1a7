// Scans of 8-bit codes and the selection of sums against plain loops, with and without the
// extensions of a table.

#include <limits>

#include "test/kernels/kernel_inputs.h"

namespace tandem::test {
namespace {

void CheckScanCodes(const KernelTable& kernels, Random& random, std::size_t queries,
                    std::size_t depth, std::size_t blocks, bool extremes) {
  const std::size_t items = blocks * kCodeBlock;
  const std::size_t stride = items + random.Below(3);
  std::vector<std::int8_t> x(queries * depth);
  std::vector<std::uint8_t> codes(items * depth);  // [items, depth]
  const int sign = random.Below(2) == 0 ? 1 : -1;
  for (std::int8_t& value : x) {
    const int drawn = static_cast<int>(random.Below(2 * kMaxQueryCode + 1)) - kMaxQueryCode;
    value = static_cast<std::int8_t>(extremes ? sign * kMaxQueryCode : drawn);
  }
  for (std::uint8_t& code : codes) {
    code = static_cast<std::uint8_t>(extremes ? 255 : random.Below(256));
  }
  const Aligned<std::uint8_t> packed(items * depth);
  for (std::size_t i = 0; i < items; ++i) {
    for (std::size_t d = 0; d < depth; ++d) {
      const std::size_t line = i / kCodeBlock * (depth / kCodeGroup) + d / kCodeGroup;
      packed.memory[(line * kCodeBlock + i % kCodeBlock) * kCodeGroup + d % kCodeGroup] =
          codes[i * depth + d];
    }
  }
  constexpr std::int32_t kUntouched = 123456789;
  std::vector<std::int32_t> sums(queries * stride + 1, kUntouched);
  kernels.scan_codes(x.data(), queries, depth, packed.memory, blocks, sums.data(), stride);
  CheckTilesReleased();
  for (std::size_t q = 0; q < queries; ++q) {
    for (std::size_t i = 0; i < stride; ++i) {
      std::int32_t expected = i < items ? 0 : kUntouched;
      for (std::size_t d = 0; d < depth && i < items; ++d) {
        expected += std::int32_t{x[q * depth + d]} * std::int32_t{codes[i * depth + d]};
      }
      CHECK(sums[q * stride + i] == expected);
    }
  }
  CHECK(sums.back() == kUntouched);
}

void TestScanCodes(const KernelTable& kernels) {
  Random random(11);
  for (std::size_t depth = 4; depth <= 260; depth += 4) {
    const std::size_t queries = 1 + random.Below(20);
    CheckScanCodes(kernels, random, queries, depth, 1 + random.Below(6), false);
    CheckScanCodes(kernels, random, 1, depth, 1 + random.Below(9), false);
  }
  for (std::size_t queries = 1; queries <= 20; ++queries) {
    for (const std::size_t blocks : {0, 1, 2, 3, 5}) {
      CheckScanCodes(kernels, random, queries, 64, blocks, false);
      CheckScanCodes(kernels, random, queries, 64, blocks, true);
    }
  }
  for (const std::size_t queries : {31, 32, 33, 48, 63, 64, 65, 130}) {
    CheckScanCodes(kernels, random, queries, 68, 3, false);
  }
  CheckScanCodes(kernels, random, 5, 8192, 3, true);
}

void TestSelectAboveInt(const KernelTable& kernels) {
  Random random(12);
  constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();
  for (const std::size_t n : Sizes()) {
    std::vector<std::int32_t> sums(n);
    for (std::int32_t& sum : sums) sum = static_cast<std::int32_t>(random.Below(7)) - 3;
    if (n > 4) sums[n - 1] = kHighest;
    if (n > 4) sums[n - 2] = kLowest;
    for (const std::int32_t threshold : {kLowest, -1, 0, 3, kHighest - 1, kHighest}) {
      std::vector<std::uint32_t> expected;
      for (std::size_t i = 0; i < n; ++i) {
        if (sums[i] > threshold) expected.push_back(static_cast<std::uint32_t>(i));
      }
      std::vector<std::uint32_t> out(n);
      out.resize(kernels.select_above_int(sums.data(), n, threshold, out.data()));
      CHECK(out == expected);
    }
  }
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsaAndBase([](const tandem::KernelTable& kernels) {
    TestScanCodes(kernels);
    TestSelectAboveInt(kernels);
  });
  return Finish("codes");
}
