// Builds or loads an index on a libuv worker, and brings its progress and its result back to
// JavaScript.
#pragma once

#include <napi.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "addon/arguments.h"
#include "core/runtime/background.h"
#include "core/runtime/status.h"

namespace tandem {

/// Runs at a priority that is not above that of the thread that starts it, because a server loads
/// indexes while it answers requests. Deletes itself after the promise is settled.
template <class Index>
class BuildWorker : public Napi::AsyncWorker {
 public:
  /// Runs off the JavaScript thread; `done` counts up to the work given to Start.
  using BuildFunction =
      std::function<Status(std::atomic<std::size_t>* done, std::unique_ptr<Index>* index)>;
  /// Makes the JavaScript object of a finished index, on the JavaScript thread.
  using WrapFunction = std::function<Napi::Object(Napi::Env env, std::unique_ptr<Index> index)>;

  /// @param on_progress - undefined, or a function that is called with the share of `work` that is
  ///   done: at most ten times a second, and once with 1 before the promise resolves. When it
  ///   throws then, the promise is rejected.
  /// @returns a promise of the wrapped index. It is rejected with the error of a failed Status.
  static Napi::Promise Start(Napi::Env env, const char* name, BuildFunction build,
                             WrapFunction wrap, const Napi::Value& on_progress, std::size_t work) {
    auto* worker = new BuildWorker(env, name, std::move(build), std::move(wrap), work);
    if (!on_progress.IsUndefined()) {
      worker->progress_ = Napi::ThreadSafeFunction::New(env, on_progress.As<Napi::Function>(),
                                                        "tandem.build.progress", 0, 1);
      worker->on_progress_ = Napi::Persistent(on_progress.As<Napi::Function>());
      worker->has_progress_ = true;
    }
    const Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }

 protected:
  void Execute() override {
    std::mutex mutex;
    std::condition_variable ended;
    bool done = false;
    std::thread reporter;
    if (has_progress_) {
      reporter = std::thread([&] {
        std::unique_lock<std::mutex> lock(mutex);
        std::size_t reported = 0;
        while (!ended.wait_for(lock, std::chrono::milliseconds(100), [&] { return done; })) {
          const std::size_t now = done_.load(std::memory_order_relaxed);
          if (now == reported) continue;
          reported = now;
          Report(now);
        }
      });
    }
    RunAtNiceness(niceness_, [this] { status_ = build_(&done_, &index_); });
    if (has_progress_) {
      {
        std::lock_guard<std::mutex> lock(mutex);
        done = true;
      }
      ended.notify_one();
      reporter.join();
      progress_.Release();
    }
  }

  void OnOK() override {
    const Napi::HandleScope scope(Env());
    // Calls of the reporter may still wait in the queue of the thread-safe function. They are late.
    *settled_ = true;
    if (!status_.ok()) {
      deferred_.Reject(ErrorOf(Env(), status_).Value());
      return;
    }
    try {
      if (has_progress_) on_progress_.Call({Napi::Number::New(Env(), 1.0)});
      deferred_.Resolve(wrap_(Env(), std::move(index_)));
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

  void OnError(const Napi::Error& error) override {
    *settled_ = true;
    deferred_.Reject(error.Value());
  }

 private:
  BuildWorker(Napi::Env env, const char* name, BuildFunction build, WrapFunction wrap,
              std::size_t work)
      : Napi::AsyncWorker(env, name),
        deferred_(Napi::Promise::Deferred::New(env)),
        build_(std::move(build)),
        wrap_(std::move(wrap)),
        work_(work) {}

  void Report(std::size_t done) {
    const double share =
        work_ == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(work_));
    progress_.NonBlockingCall([share, settled = settled_](Napi::Env env, Napi::Function callback) {
      if (!*settled) callback.Call({Napi::Number::New(env, share)});
    });
  }

  Napi::Promise::Deferred deferred_;
  BuildFunction build_;
  WrapFunction wrap_;
  const int niceness_ = ThreadNiceness();
  const std::size_t work_;
  Napi::ThreadSafeFunction progress_;
  Napi::FunctionReference on_progress_;
  /// Whether the promise is settled. Only the JavaScript thread reads and writes it.
  const std::shared_ptr<bool> settled_ = std::make_shared<bool>(false);
  bool has_progress_ = false;
  std::atomic<std::size_t> done_{0};
  Status status_;
  std::unique_ptr<Index> index_;
};

/// The onProgress of `options`: a function or undefined. A TypeError for anything else.
inline Napi::Value ProgressOption(const Napi::Object& options) {
  const Napi::Value on_progress = options.Get("onProgress");
  if (!on_progress.IsUndefined() && !on_progress.IsFunction()) {
    throw Napi::TypeError::New(options.Env(), "Expected function or undefined for onProgress.");
  }
  return on_progress;
}

/// A promise rejected with the error of `status`.
inline Napi::Promise Rejected(Napi::Env env, const Status& status) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(ErrorOf(env, status).Value());
  return deferred.Promise();
}

}  // namespace tandem
