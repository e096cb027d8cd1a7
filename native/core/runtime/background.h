// Threads that compute while others must answer.
#pragma once

#include <functional>

namespace tandem {

/// Of the calling thread, as `nice` has it: the higher, the less urgent. 0 where a priority is that of the whole process: everywhere but on Linux.
int ThreadNiceness();

/// Lowers the calling thread's priority for good; only the first call of a thread does. Without it a thread that wakes on a core where
/// an equal computes may wait for the end of that one's time slice, which is milliseconds. Does nothing where
/// ThreadNiceness() knows nothing.
void BecomeBackgroundThread();

/// Runs `work` on a thread of its own that is no more urgent than `niceness`, and waits for it; what it throws is thrown here. A
/// thread of a pool that lowered itself would stay low for whatever it is given next.
void RunAtNiceness(int niceness, const std::function<void()>& work);

}  // namespace tandem
