#include "core/background.h"

#ifdef __linux__
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tandem {

#ifdef __linux__

namespace {

/// Where both want one core all the time, a third of what the threads of the process get that were left alone.
constexpr int kNicer = 5;

bool LowerPriority() {
  const auto thread = static_cast<id_t>(syscall(SYS_gettid));
  return setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kNicer) == 0;
}

}  // namespace

void BecomeBackgroundThread() {
  thread_local const bool lowered = LowerPriority();
  static_cast<void>(lowered);
}

#else

void BecomeBackgroundThread() {}

#endif

}  // namespace tandem
