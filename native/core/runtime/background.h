// Lowers the priority of threads that compute while other threads must answer.
#pragma once

#include <functional>

namespace tandem {

/// The niceness of the calling thread, as in `nice`: the higher, the less urgent. 0 where a
/// priority belongs to the whole process, which is everywhere but on Linux.
int ThreadNiceness();

/// Lowers the priority of the calling thread for good; only the first call of a thread does so.
/// Otherwise a thread that wakes on a core where an equal thread computes may wait for the end of
/// that thread's time slice, which is milliseconds. Does nothing on systems where ThreadNiceness()
/// is always 0.
void BecomeBackgroundThread();

/// Runs `work` on a new thread that is no more urgent than `niceness`, and waits for it. Throws
/// what `work` throws. A new thread is needed because a pool's thread that lowered itself would
/// stay low for all later work.
void RunAtNiceness(int niceness, const std::function<void()>& work);

}  // namespace tandem
