// Passes one job at a time to the workers. They join and leave it under a mutex, so a late worker
// never sees a job that has ended.

#include "core/runtime/thread_pool.h"

#include <cstdlib>

#if defined(__linux__)
#include <sched.h>
#endif

namespace tandem {
namespace {

/// About 10 microseconds: long enough to catch the next operation of a training step, short enough
/// to free the CPU soon.
constexpr int kSpins = 400;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// What SetSharedSize() was given; 0 before.
std::atomic<std::size_t> shared_size{0};

std::size_t UsableCpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return static_cast<std::size_t>(count);
  }
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : count;
}

std::size_t ConfiguredThreads() {
  if (const char* text = std::getenv("TANDEM_THREADS")) {
    char* end = nullptr;
    const unsigned long value = std::strtoul(text, &end, 10);
    if (end != text && *end == '\0' && value >= 1 && value <= 1024) return value;
  }
  const std::size_t size = shared_size.load(std::memory_order_relaxed);
  return size == 0 ? UsableCpus() : size;
}

}  // namespace

ThreadPool::ThreadPool(std::size_t threads) {
  for (std::size_t worker = 1; worker < threads; ++worker) {
    // A machine that refuses another thread gets a smaller pool instead of an error.
    try {
      workers_.emplace_back([this, worker] { WorkerLoop(worker); });
    } catch (...) {
      break;
    }
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    generation_.fetch_add(1, std::memory_order_release);
  }
  start_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

ThreadPool& ThreadPool::Shared() {
  // Never destroyed: joining at exit could wait for a worker of a JavaScript thread that is being
  // torn down.
  static ThreadPool* const pool = new ThreadPool(ConfiguredThreads());
  return *pool;
}

std::size_t ThreadPool::SetSharedSize(std::size_t threads) {
  shared_size.store(threads, std::memory_order_relaxed);
  return ConfiguredThreads();
}

void ThreadPool::TakeTasks(Job& job, std::size_t worker) {
  for (;;) {
    const std::size_t task = job.next.fetch_add(1, std::memory_order_relaxed);
    if (task >= job.count) return;
    job.function(job.context, task, worker);
  }
}

void ThreadPool::Run(std::size_t count, TaskFunction function, const void* context) {
  std::unique_lock<std::mutex> only(run_mutex_, std::defer_lock);
  if (count < 2 || workers_.empty() || !only.try_lock()) {
    for (std::size_t task = 0; task < count; ++task) function(context, task, 0);
    return;
  }
  Job job;
  job.function = function;
  job.context = context;
  job.count = count;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    job_ = &job;
    generation_.fetch_add(1, std::memory_order_release);
  }
  start_.notify_all();
  TakeTasks(job, 0);
  std::unique_lock<std::mutex> lock(mutex_);
  job_ = nullptr;
  done_.wait(lock, [&job] { return job.active == 0; });
}

void ThreadPool::WorkerLoop(std::size_t worker) {
  std::uint64_t seen = 0;
  for (;;) {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (generation_.load(std::memory_order_acquire) != seen) break;
      Pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    start_.wait(lock, [this, seen] { return generation_.load(std::memory_order_relaxed) != seen; });
    seen = generation_.load(std::memory_order_relaxed);
    if (stop_) return;
    Job* job = job_;
    if (job == nullptr) continue;
    ++job->active;
    lock.unlock();
    TakeTasks(*job, worker);
    lock.lock();
    if (--job->active == 0) done_.notify_one();
  }
}

}  // namespace tandem
