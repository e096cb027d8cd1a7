// Runs a search on a libuv worker, and keeps everything that the search reads and writes alive
// until it ends.
#pragma once

#include <napi.h>

#include <functional>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "core/runtime/background.h"
#include "core/runtime/status.h"

namespace tandem {

/// The event loop may share its core with the worker and goes first, so a libuv worker that runs a
/// search becomes a background thread for good. Deletes itself after the promise is settled.
class SearchWorker : public Napi::AsyncWorker {
 public:
  /// Runs a search whose arguments are checked. Holds the index, the arguments and the arrays of
  /// `output`.
  static Napi::Promise Start(const Napi::CallbackInfo& info, std::function<Status()> search,
                             const Napi::Value& output) {
    auto* worker = new SearchWorker(info.Env(), std::move(search));
    const auto out = output.As<Napi::Object>();
    worker->Hold(info.This());
    for (std::size_t i = 0; i < info.Length(); ++i) worker->Hold(info[i]);
    for (const char* name : {"rows", "scores", "counts"}) worker->Hold(out.Get(name));
    worker->Queue();
    return worker->deferred_.Promise();
  }

 protected:
  void Execute() override {
    BecomeBackgroundThread();
    status_ = search_();
  }

  void OnOK() override {
    const Napi::HandleScope scope(Env());
    if (status_.ok()) {
      deferred_.Resolve(Env().Undefined());
    } else {
      deferred_.Reject(ErrorOf(Env(), status_).Value());
    }
  }

  /// Called when the search threw, for example std::bad_alloc.
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  SearchWorker(Napi::Env env, std::function<Status()> search)
      : Napi::AsyncWorker(env, "tandem.search"),
        deferred_(Napi::Promise::Deferred::New(env)),
        search_(std::move(search)) {}

  void Hold(const Napi::Value& value) {
    if (value.IsObject()) held_.push_back(Napi::Persistent(value.As<Napi::Object>()));
  }

  Napi::Promise::Deferred deferred_;
  std::function<Status()> search_;
  std::vector<Napi::ObjectReference> held_;
  Status status_;
};

}  // namespace tandem
