// What one core and the whole machine can do at best: f32 multiply-adds on registers alone, and reading memory in order.
// Prints a JSON array of {what, isa, threads, value, unit}. The kernels' own speed is measured elsewhere, against this.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

// Latency 4 to 5 cycles times 2 units need 8 to 10 independent sums.
constexpr int kSums = 12;
// Rounds of a few milliseconds fit between two interruptions by other work; the fastest counts.
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
#elif defined(__aarch64__)
float SumsNeon(std::int64_t steps) {
  const float32x4_t scale = vdupq_n_f32(0.999F);
  const float32x4_t shift = vdupq_n_f32(0.001F);
  // Up to four units of latency 4.
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

/// Sum of a block of words; several sums, so that the loads and not the additions are waited for.
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

/// Seconds of the fastest of kRounds, each on all threads at once.
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
  const char* name;
  Loop loop;
  /// Multiply-adds of one step.
  int lanes;
};

std::vector<Isa> Isas() {
  std::vector<Isa> isas;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    isas.push_back({"avx2", SumsAvx2, kSums * 8});
  }
  if (__builtin_cpu_supports("avx512f")) isas.push_back({"avx512", SumsAvx512, kSums * 16});
#elif defined(__aarch64__)
  isas.push_back({"neon", SumsNeon, 16 * 4});
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
          threads, [&isa](unsigned) { sink = static_cast<std::uint64_t>(isa.loop(kSteps)); });
      const double operations = 2.0 * isa.lanes * static_cast<double>(kSteps) * threads;
      print("f32 multiply-add", isa.name, threads, operations / seconds / 1e9, "GFLOP/s");
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
