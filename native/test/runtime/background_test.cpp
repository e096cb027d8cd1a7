// Tests that a background thread lowers its own priority once, even after several calls, and leaves
// other threads alone, and that RunAtNiceness never raises a priority.

#include "core/runtime/background.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <thread>

#include "test/check.h"

namespace tandem::test {
namespace {

void TestOnceAndAlone() {
  const int before = ThreadNiceness();
  int once = before;
  int twice = before;
  std::thread([&] {
    BecomeBackgroundThread();
    once = ThreadNiceness();
    BecomeBackgroundThread();
    twice = ThreadNiceness();
  }).join();
  CHECK(twice == once);
  CHECK(ThreadNiceness() == before);
#ifdef __linux__
  constexpr int kLowest = 19;
  CHECK(once > before || before == kLowest);
#endif
}

void TestAtNiceness() {
  const int before = ThreadNiceness();
  for (const int more : {0, 7, -1}) {
    int within = -100;
    RunAtNiceness(before + more, [&] { within = ThreadNiceness(); });
#ifdef __linux__
    CHECK(within == std::min(19, before + std::max(0, more)));
#else
    CHECK(within == 0);
#endif
    CHECK(ThreadNiceness() == before);
  }
  std::string thrown;
  try {
    RunAtNiceness(before, [] { throw std::runtime_error("as it was thrown"); });
  } catch (const std::runtime_error& error) {
    thrown = error.what();
  }
  CHECK(thrown == "as it was thrown");
}

}  // namespace
}  // namespace tandem::test

int main() {
  tandem::test::TestOnceAndAlone();
  tandem::test::TestAtNiceness();
  return tandem::test::Finish("background");
}
