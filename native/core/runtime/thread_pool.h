// Persistent workers, for loops that are worth more than passing work to another thread, which
// takes about 5 microseconds.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace tandem {

/// Runs one loop at a time on size() threads, one of which is the caller. A loop that starts while
/// another one runs (from a second JavaScript thread, or inside a task) runs on its caller alone,
/// so nothing here can deadlock or wait for other loops.
class ThreadPool {
 public:
  /// `threads` includes the calling thread; 1 starts no worker.
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// The pool of the process, which lives until the process ends. Its size is TANDEM_THREADS, or
  /// else what SetSharedSize() was given, or else the number of CPUs that this process may run on.
  static ThreadPool& Shared();

  /// Says how many threads Shared() gets when it starts, unless TANDEM_THREADS says it. The caller
  /// knows limits that the kernel does not show as CPUs, such as the quota of a container.
  ///
  /// Returns the size that Shared() has when it starts now.
  static std::size_t SetSharedSize(std::size_t threads);

  std::size_t size() const { return workers_.size() + 1; }

  /// Calls body(task, worker) for every task in [0, count), with worker in [0, size()), and returns
  /// when all calls have ended. Any thread may take any task, so results must not depend on that.
  /// body must not throw.
  template <class Body>
  void ParallelFor(std::size_t count, const Body& body) {
    Run(
        count,
        [](const void* context, std::size_t task, std::size_t worker) {
          (*static_cast<const Body*>(context))(task, worker);
        },
        &body);
  }

 private:
  using TaskFunction = void (*)(const void* context, std::size_t task, std::size_t worker);

  struct Job {
    TaskFunction function;
    const void* context;
    std::size_t count;
    std::atomic<std::size_t> next{0};
    /// Workers that are inside the job; guarded by mutex_.
    std::size_t active = 0;
  };

  void Run(std::size_t count, TaskFunction function, const void* context);
  void WorkerLoop(std::size_t worker);
  static void TakeTasks(Job& job, std::size_t worker);

  std::mutex run_mutex_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  /// Guarded by mutex_. The job lives on the stack of Run.
  Job* job_ = nullptr;
  bool stop_ = false;
  /// Written under mutex_; spinning workers read it without.
  std::atomic<std::uint64_t> generation_{0};
  std::vector<std::thread> workers_;
};

}  // namespace tandem
