#include "core/runtime/background.h"

#include <future>

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

id_t ThreadId() { return static_cast<id_t>(syscall(SYS_gettid)); }

/// Nobody needs a right to lower a priority; where it does not work, the thread is what it was.
bool Lower(int niceness) { return setpriority(PRIO_PROCESS, ThreadId(), niceness) == 0; }

}  // namespace

int ThreadNiceness() { return getpriority(PRIO_PROCESS, ThreadId()); }

#else

namespace {

constexpr int kNicer = 0;

bool Lower(int) { return true; }

}  // namespace

int ThreadNiceness() { return 0; }

#endif

void BecomeBackgroundThread() {
  thread_local const bool lowered = Lower(ThreadNiceness() + kNicer);
  static_cast<void>(lowered);
}

void RunAtNiceness(int niceness, const std::function<void()>& work) {
  std::async(std::launch::async, [&] {
    if (ThreadNiceness() < niceness) Lower(niceness);
    work();
  }).get();
}

}  // namespace tandem
