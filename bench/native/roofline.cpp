// Measures the best that one core and the whole machine can do: multiply-adds on registers alone,
// in f32 and, on CPUs that have them, in bf16 and int8, on vectors and on AMX tiles; and reading
// memory in order. Prints a JSON array of {what, isa, threads, value, unit}. Other programs measure
// the speed of the kernels, which is compared with these values.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

// A latency of 4 to 5 cycles and 2 units need 8 to 10 independent sums.
constexpr int kSums = 12;
// Rounds of a few milliseconds fit between two interruptions by other work; the fastest one counts.
constexpr int kRounds = 60;
constexpr std::int64_t kSteps = 2'000'000;
constexpr std::size_t kBytes = std::size_t{256} << 20;

using Loop = float (*)(std::int64_t steps);

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) float SumsAvx2(std::int64_t steps) {
  const __m256 scale = _mm256_set1_ps(0.999F);
  const __m256 shift = _mm256_set1_ps(0.001F);
  __m256 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  for (std::int64_t step = 0; step < steps; ++step) {
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, scale, shift);
  }
  float total = 0;
  for (const __m256& sum : sums) total += _mm256_cvtss_f32(sum);
  return total;
}

__attribute__((target("avx512f"))) float SumsAvx512(std::int64_t steps) {
  const __m512 scale = _mm512_set1_ps(0.999F);
  const __m512 shift = _mm512_set1_ps(0.001F);
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t step = 0; step < steps; ++step) {
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, scale, shift);
  }
  float total = 0;
  for (const __m512& sum : sums) total += _mm512_cvtss_f32(sum);
  return total;
}

__attribute__((target("avx512f,avx512bf16"))) float SumsAvx512Bf16(std::int64_t steps) {
  const __m512bh pairs = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t step = 0; step < steps; ++step) {
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, pairs, pairs);
  }
  float total = 0;
  for (const __m512& sum : sums) total += _mm512_cvtss_f32(sum);
  return total;
}

__attribute__((target("avx512f,avx512vnni"))) float SumsAvx512Vnni(std::int64_t steps) {
  const __m512i bytes = _mm512_set1_epi8(1);
  __m512i sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_epi32(i);
  for (std::int64_t step = 0; step < steps; ++step) {
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, bytes, bytes);
  }
  int total = 0;
  for (const __m512i& sum : sums) total += _mm512_cvtsi512_si32(sum);
  return static_cast<float>(total);
}

/// Palette 1: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// GCC's intrinsic declares that it reads 8 of the 64 bytes. If nothing else read the others, GCC
/// left them out and LDTILECFG faulted.
__attribute__((target("amx-tile"))) void LoadTiles() {
  const TileConfig config;
  __asm__ volatile("" : : "m"(config));
  _tile_loadconfig(&config);
}

// Four sums of 16 cycles each cover the latency of a tile product.
__attribute__((target("amx-tile,amx-bf16"))) float TilesBf16(std::int64_t steps) {
  LoadTiles();
  for (std::int64_t step = 0; step < steps; ++step) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 0;
}

__attribute__((target("amx-tile,amx-int8"))) float TilesInt8(std::int64_t steps) {
  LoadTiles();
  for (std::int64_t step = 0; step < steps; ++step) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
  return 0;
}

/// Whether CPUID leaf 7 has a bit in EDX, and the operating system allows tiles to this process.
bool HasTiles(unsigned bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kTile = 24;
  if ((d >> kTile & d >> bit & 1U) == 0) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#elif defined(__aarch64__)
float SumsNeon(std::int64_t steps) {
  const float32x4_t scale = vdupq_n_f32(0.999F);
  const float32x4_t shift = vdupq_n_f32(0.001F);
  // Up to four units with a latency of 4.
  constexpr int kNeonSums = 16;
  float32x4_t sums[kNeonSums];
  for (int i = 0; i < kNeonSums; ++i) sums[i] = vdupq_n_f32(static_cast<float>(i));
  for (std::int64_t step = 0; step < steps; ++step) {
    for (float32x4_t& sum : sums) sum = vfmaq_f32(shift, sum, scale);
  }
  float total = 0;
  for (const float32x4_t& sum : sums) total += vgetq_lane_f32(sum, 0);
  return total;
}
#endif

/// Sums a block of words. There are several sums, so that the loop waits for the loads and not for
/// the additions.
std::uint64_t ReadBlock(const std::uint64_t* words, std::size_t count) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 8 <= count; i += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}

volatile std::uint64_t sink;

/// Seconds of the fastest of kRounds rounds, each on all threads at once.
template <class Body>
double FastestSeconds(unsigned threads, const Body& body) {
  double fastest = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> others;
    for (unsigned thread = 1; thread < threads; ++thread) {
      others.emplace_back([&body, thread] { body(thread); });
    }
    body(0);
    for (std::thread& other : others) other.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    fastest = std::min(fastest, seconds.count());
  }
  return fastest;
}

struct Isa {
  const char* what;
  const char* name;
  Loop loop;
  /// Multiply-adds of one step.
  int lanes;
  std::int64_t steps;
};

std::vector<Isa> Isas() {
  const char* const f32 = "f32 multiply-add";
  const char* const bf16 = "bf16 multiply-add";
  const char* const int8 = "int8 multiply-add";
  std::vector<Isa> isas;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    isas.push_back({f32, "avx2", SumsAvx2, kSums * 8, kSteps});
  }
  if (__builtin_cpu_supports("avx512f")) {
    isas.push_back({f32, "avx512", SumsAvx512, kSums * 16, kSteps});
  }
  if (__builtin_cpu_supports("avx512bf16")) {
    isas.push_back({bf16, "avx512", SumsAvx512Bf16, kSums * 32, kSteps});
  }
  if (__builtin_cpu_supports("avx512vnni")) {
    isas.push_back({int8, "avx512", SumsAvx512Vnni, kSums * 64, kSteps});
  }
  constexpr unsigned kBf16Bit = 22, kInt8Bit = 25;
  constexpr int kTileProducts = 4 * 16 * 16;
  if (HasTiles(kBf16Bit)) {
    isas.push_back({bf16, "amx", TilesBf16, kTileProducts * 32, kSteps / 8});
  }
  if (HasTiles(kInt8Bit)) {
    isas.push_back({int8, "amx", TilesInt8, kTileProducts * 64, kSteps / 8});
  }
#elif defined(__aarch64__)
  isas.push_back({f32, "neon", SumsNeon, 16 * 4, kSteps});
#endif
  return isas;
}

}  // namespace

int main() {
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  std::vector<unsigned> thread_counts = {1};
  if (cores > 1) thread_counts.push_back(cores);
  std::string lines;
  const auto print = [&lines](const char* what, const char* isa, unsigned threads, double value,
                              const char* unit) {
    char line[200];
    std::snprintf(
        line, sizeof(line),
        "%s{\"what\":\"%s\",\"isa\":\"%s\",\"threads\":%u,\"value\":%.3f,\"unit\":\"%s\"}",
        lines.empty() ? "" : ",\n", what, isa, threads, value, unit);
    lines += line;
  };
  for (const Isa& isa : Isas()) {
    for (const unsigned threads : thread_counts) {
      const double seconds = FastestSeconds(
          threads, [&isa](unsigned) { sink = static_cast<std::uint64_t>(isa.loop(isa.steps)); });
      const double operations = 2.0 * isa.lanes * static_cast<double>(isa.steps) * threads;
      print(isa.what, isa.name, threads, operations / seconds / 1e9, "Gop/s");
    }
  }
  for (const unsigned threads : thread_counts) {
    std::vector<std::vector<std::uint64_t>> blocks(
        threads, std::vector<std::uint64_t>(kBytes / sizeof(std::uint64_t), 1));
    const double seconds = FastestSeconds(threads, [&blocks](unsigned thread) {
      sink = ReadBlock(blocks[thread].data(), blocks[thread].size());
    });
    print("read of 256 MiB", "any", threads, static_cast<double>(kBytes) * threads / seconds / 1e9,
          "GB/s");
  }
  std::printf("[%s]\n", lines.c_str());
  return 0;
}
