// A background thread gives way once, however often it is told to, and nobody else with it.

#include "core/background.h"

#ifdef __linux__
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <thread>

#include "check.h"

namespace tandem::test {
namespace {

int Niceness() {
#ifdef __linux__
  return getpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)));
#else
  return 0;
#endif
}

void TestOnceAndAlone() {
  const int before = Niceness();
  int once = before;
  int twice = before;
  std::thread([&] {
    BecomeBackgroundThread();
    once = Niceness();
    BecomeBackgroundThread();
    twice = Niceness();
  }).join();
  CHECK(twice == once);
  CHECK(Niceness() == before);
#ifdef __linux__
  constexpr int kLowest = 19;
  CHECK(once > before || before == kLowest);
#endif
}

}  // namespace
}  // namespace tandem::test

int main() {
  tandem::test::TestOnceAndAlone();
  return tandem::test::Finish("background");
}
