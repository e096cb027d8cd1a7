// Persistent workers for loops that are worth more than a thread hand-over (about 5 microseconds).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace tandem {

/// Runs one loop at a time over size() threads, the caller among them. A loop started while another runs (from a second
/// JavaScript thread, or from inside a task) runs on its caller alone, so nothing here can deadlock or wait for others.
class ThreadPool {
 public:
  /// `threads` counts the calling thread; 1 starts no worker.
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// The process-wide pool: TANDEM_THREADS, else the CPUs this process may run on. Lives until the process ends.
  static ThreadPool& Shared();

  std::size_t size() const { return workers_.size() + 1; }

  /// Calls body(task, worker) for every task in [0, count), worker in [0, size()), and returns when all are done.
  /// Which thread takes which task is not fixed: results must not depend on it. body must not throw.
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
    /// Workers inside the job; guarded by mutex_.
    std::size_t active = 0;
  };

  void Run(std::size_t count, TaskFunction function, const void* context);
  void WorkerLoop(std::size_t worker);
  static void TakeTasks(Job& job, std::size_t worker);

  std::mutex run_mutex_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  /// Guarded by mutex_; lives on the stack of Run.
  Job* job_ = nullptr;
  bool stop_ = false;
  /// Written under mutex_, read without it by spinning workers.
  std::atomic<std::uint64_t> generation_{0};
  std::vector<std::thread> workers_;
};

}  // namespace tandem
