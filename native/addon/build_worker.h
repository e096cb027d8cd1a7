// Carries the build or the loading of an index to a libuv worker, its progress and its result back to JavaScript.
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

/// No more urgent than the thread that asks for it: a server loads indexes while it answers. Deletes itself after the promise is settled.
template <class Index>
class BuildWorker : public Napi::AsyncWorker {
 public:
  /// Runs off the JavaScript thread; `done` counts up to the work given to Start.
  using BuildFunction =
      std::function<Status(std::atomic<std::size_t>* done, const std::atomic<bool>* cancel,
                           std::unique_ptr<Index>* index)>;
  /// Makes the JavaScript object of a finished index.
  using WrapFunction = std::function<Napi::Object(Napi::Env env, std::unique_ptr<Index> index)>;

  BuildWorker(Napi::Env env, const char* name, BuildFunction build, WrapFunction wrap)
      : Napi::AsyncWorker(env, name),
        deferred_(Napi::Promise::Deferred::New(env)),
        build_(std::move(build)),
        wrap_(std::move(wrap)) {}

  /// @param on_progress - a function called with the share of `work` done, at most ten times a second and once with 1 at
  ///   the end; or undefined.
  Napi::Promise Start(const Napi::Value& on_progress, std::size_t work) {
    work_ = work;
    if (!on_progress.IsUndefined()) {
      progress_ = Napi::ThreadSafeFunction::New(Env(), on_progress.As<Napi::Function>(),
                                                "tandem.build.progress", 0, 1);
      has_progress_ = true;
    }
    Napi::Promise promise = deferred_.Promise();
    Queue();
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
    RunAtNiceness(niceness_, [this] { status_ = build_(&done_, &cancel_, &index_); });
    if (has_progress_) {
      {
        std::lock_guard<std::mutex> lock(mutex);
        done = true;
      }
      ended.notify_one();
      reporter.join();
      if (status_.ok()) Report(work_);
      progress_.Release();
    }
  }

  void OnOK() override {
    const Napi::HandleScope scope(Env());
    if (status_.ok()) {
      deferred_.Resolve(wrap_(Env(), std::move(index_)));
    } else {
      deferred_.Reject(ErrorOf(Env(), status_).Value());
    }
  }

  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  void Report(std::size_t done) {
    const double share =
        work_ == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(work_));
    progress_.NonBlockingCall([share](Napi::Env env, Napi::Function callback) {
      callback.Call({Napi::Number::New(env, share)});
    });
  }

  Napi::Promise::Deferred deferred_;
  BuildFunction build_;
  WrapFunction wrap_;
  const int niceness_ = ThreadNiceness();
  std::size_t work_ = 0;
  Napi::ThreadSafeFunction progress_;
  bool has_progress_ = false;
  std::atomic<std::size_t> done_{0};
  std::atomic<bool> cancel_{false};
  Status status_;
  std::unique_ptr<Index> index_;
};

/// The onProgress of `options`: a function or undefined, TypeError for anything else.
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
