// Every task runs exactly once, whatever the pool size, whoever calls, and however quickly loops
// follow each other.

#include "core/runtime/thread_pool.h"

#include <algorithm>

#include "test/check.h"

namespace tandem::test {
namespace {

void TestEveryTaskOnce() {
  for (const std::size_t threads : {std::size_t{1}, std::size_t{2}, std::size_t{5}}) {
    ThreadPool pool(threads);
    CHECK(pool.size() == threads);
    for (std::size_t round = 0; round < 400; ++round) {
      const std::size_t count = round % 23;
      std::vector<int> runs(count, 0);
      std::atomic<std::size_t> worst{0};
      pool.ParallelFor(count, [&](std::size_t task, std::size_t worker) {
        ++runs[task];
        if (worker > worst) worst = worker;
      });
      CHECK(worst < threads);
      CHECK(std::count(runs.begin(), runs.end(), 1) == static_cast<std::ptrdiff_t>(count));
    }
  }
}

void TestCallersAndNesting() {
  ThreadPool pool(3);
  std::atomic<std::size_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        pool.ParallelFor(5, [&](std::size_t, std::size_t) {
          pool.ParallelFor(3, [&](std::size_t, std::size_t) { ++total; });
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(total == 4 * 200 * 5 * 3);
}

}  // namespace
}  // namespace tandem::test

int main() {
  tandem::test::TestEveryTaskOnce();
  tandem::test::TestCallersAndNesting();
  return tandem::test::Finish("thread_pool");
}
