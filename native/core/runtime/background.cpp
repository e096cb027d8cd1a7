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

/// Where background and other threads compete for one core, a background thread gets a third of the
/// time of another one.
constexpr int kNicer = 5;

id_t ThreadId() { return static_cast<id_t>(syscall(SYS_gettid)); }

/// Lowering a priority needs no permission. If it fails, the thread keeps its priority.
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
