// Threads that compute while others must answer.
#pragma once

namespace tandem {

/// Lowers the calling thread's priority for good; only the first call of a thread does. Without it a thread that wakes on a core where
/// an equal computes may wait for the end of that one's time slice, which is milliseconds. Does nothing where a priority is
/// that of the whole process: everywhere but on Linux.
void BecomeBackgroundThread();

}  // namespace tandem
