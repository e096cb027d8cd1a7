// AVX2 and FMA registers for the shared kernel bodies: 8 lanes, gemm tile 6 x 16 (12 of 16
// registers accumulate).

#include "kernels/vector/table.h"
#include "kernels/x86.h"

namespace tandem {
namespace {

struct Avx2 : X86 {
  using F = __m256;
  using Mask = __m256i;
  static constexpr size_t kLanes = 8;
  static constexpr size_t kRowTile = 6;

  static F Zero() { return _mm256_setzero_ps(); }
  static F Set1(float x) { return _mm256_set1_ps(x); }
  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, F x) { _mm256_storeu_ps(p, x); }

  /// The first n lanes, n <= 8.
  static Mask TailMask(size_t n) {
    const Mask lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }
  static F MaskLoad(const float* p, Mask mask) { return _mm256_maskload_ps(p, mask); }
  static void MaskStore(float* p, Mask mask, F x) { _mm256_maskstore_ps(p, mask, x); }
  static F ZeroUnless(Mask mask, F x) { return _mm256_and_ps(x, _mm256_castsi256_ps(mask)); }

  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static F Sqrt(F a) { return _mm256_sqrt_ps(a); }
  static F Neg(F a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  /// c - a b.
  static F NegFma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  /// b when either is NaN, which is what the instruction gives.
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static F MaxOrNan(F a, F b) {
    return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  }
  static F Relu(F a) { return _mm256_max_ps(_mm256_setzero_ps(), a); }
  static F Step(F a) {
    const F zero = _mm256_setzero_ps();
    const F one = _mm256_and_ps(_mm256_cmp_ps(a, zero, _CMP_GT_OQ), _mm256_set1_ps(1.0f));
    return _mm256_blendv_ps(one, a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  }
  static F Round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// y * 2^n for integral n in [-254, 254].
  static F ScaleByPowerOfTwo(F y, F n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return _mm256_mul_ps(_mm256_mul_ps(y, PowerOfTwo(half)),
                         PowerOfTwo(_mm256_sub_epi32(whole, half)));
  }
  static F PowerOfTwo(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  static uint32_t GreaterBits(F a, F b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
  }

  // ---- bf16: a pair is spread over two registers ----

  static constexpr int kBf16RowTile = 4;
  struct Pairs {
    F even;
    F odd;
  };
  static Pairs Spread(__m256i pairs) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)),
            _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-65536)))};
  }
  static Pairs LoadPairs(const uint16_t* p) {
    return Spread(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Pairs BroadcastPair(int32_t pair) { return Spread(_mm256_set1_epi32(pair)); }
  static F DotPairs(Pairs a, Pairs b, F sum) { return Fma(a.odd, b.odd, Fma(a.even, b.even, sum)); }

  // ---- codes ----
  //
  // A code times a query component takes 8 + 6 bits, and the sum of two takes 15, so nothing
  // saturates.

  static constexpr int kScanQueries = 4;
  static constexpr int kCodeOffset = 0;
  struct Codes {
    __m256i low;
    __m256i high;
  };
  using CodeSums = Codes;
  static Codes LoadCodes(const uint8_t* p) {
    return {_mm256_load_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_load_si256(reinterpret_cast<const __m256i*>(p + 32))};
  }
  static __m256i BroadcastGroup(int32_t group) { return _mm256_set1_epi32(group); }
  static __m256i DotEight(__m256i codes, __m256i group, __m256i sum) {
    const __m256i pairs = _mm256_maddubs_epi16(codes, group);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static CodeSums DotCodes(Codes codes, __m256i group, CodeSums sums) {
    return {DotEight(codes.low, group, sums.low), DotEight(codes.high, group, sums.high)};
  }
  static CodeSums StartSums(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static void StoreCodeSums(int32_t* p, CodeSums sums) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), sums.low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), sums.high);
  }
  static uint32_t GreaterBitsInt(const int32_t* p, int32_t limit) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i above = _mm256_cmpgt_epi32(x, _mm256_set1_epi32(limit));
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(above)));
  }
};

constexpr KernelTable kTable = VectorTable<Avx2>("avx2");

}  // namespace

const KernelTable& Avx2Kernels() noexcept { return kTable; }

}  // namespace tandem
