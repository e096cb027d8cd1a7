// A test harness in one header: checks that report and count failures, a seeded generator, and a
// loop over the instruction sets.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/dispatch.h"

namespace tandem::test {

inline int& Failures() {
  static int failures = 0;
  return failures;
}

inline std::string& Context() {
  static std::string context;
  return context;
}

/// Reports only the first failures in full: a broken kernel fails thousands of elements alike.
inline void Fail(const char* file, int line, const std::string& what) {
  if (++Failures() <= 20) {
    std::fprintf(stderr, "%s:%d: [%s] %s\n", file, line, Context().c_str(), what.c_str());
  }
}

#define CHECK(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) ::tandem::test::Fail(__FILE__, __LINE__, "expected " #condition); \
  } while (false)

#define CHECK_OK(expression)                                                                  \
  do {                                                                                        \
    const ::tandem::Status check_status = (expression);                                       \
    if (!check_status.ok()) ::tandem::test::Fail(__FILE__, __LINE__, check_status.message()); \
  } while (false)

#define CHECK_NEAR(actual, expected, tolerance)                                             \
  do {                                                                                      \
    const double check_a = static_cast<double>(actual);                                     \
    const double check_e = static_cast<double>(expected);                                   \
    if (!(std::fabs(check_a - check_e) <= (tolerance)) && check_a != check_e &&             \
        !(std::isnan(check_a) && std::isnan(check_e))) {                                    \
      ::tandem::test::Fail(                                                                 \
          __FILE__, __LINE__,                                                               \
          "expected " + std::to_string(check_e) + ", received " + std::to_string(check_a)); \
    }                                                                                       \
  } while (false)

/// xorshift64*: gives the same numbers everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2654435769u + 88172645463325252ull) {}
  std::uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 2685821657736338717ull;
  }
  std::size_t Below(std::size_t n) { return static_cast<std::size_t>(Next() >> 11) % n; }
  /// In [-1, 1).
  float Unit() { return static_cast<float>(static_cast<double>(Next() >> 11) * 0x1.0p-52 - 1.0); }

  std::vector<float> Floats(std::size_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = Unit();
    return values;
  }

 private:
  std::uint64_t state_;
};

/// Calls body(table) for every instruction set of this machine, and names it in failures.
template <class Body>
void ForEachIsa(const Body& body) {
  const AvailableKernels& found = ProbeKernels();
  for (std::size_t i = 0; i < found.count; ++i) {
    Context() = found.tables[i]->isa;
    body(*found.tables[i]);
  }
  Context().clear();
}

/// One instruction set, for tests that do not depend on it and take long: the least of the vector
/// ones, which emulators run fastest.
inline const KernelTable& OneIsa() {
  const AvailableKernels& found = ProbeKernels();
  return *found.tables[found.count > 1 ? 1 : 0];
}

/// Prints the closing line and returns the exit code.
inline int Finish(const char* name) {
  if (Failures() > 0) {
    std::fprintf(stderr, "%s: %d failures\n", name, Failures());
    return 1;
  }
  std::printf("%s: passed\n", name);
  return 0;
}

}  // namespace tandem::test
