// HnswIndex.build and .load, and the class of their results. Building runs on a libuv worker with its own helpers.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/hnsw_index.h"
#include "core/vector_checks.h"

namespace tandem {
namespace {

class HnswIndexWrap : public Napi::ObjectWrap<HnswIndexWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "HnswIndex",
                       {InstanceMethod<&HnswIndexWrap::Search>("search"),
                        InstanceMethod<&HnswIndexWrap::Serialize>("serialize"),
                        InstanceAccessor<&HnswIndexWrap::Size>("size"),
                        InstanceAccessor<&HnswIndexWrap::Dimensions>("dimensions"),
                        InstanceAccessor<&HnswIndexWrap::Connectivity>("connectivity"),
                        InstanceAccessor<&HnswIndexWrap::Isa>("isa")});
  }

  /// A JavaScript object that owns `index`.
  static Napi::Object Wrap(Napi::Env env, std::unique_ptr<HnswIndex> index) {
    const auto handle = Napi::External<std::unique_ptr<HnswIndex>>::New(env, &index);
    return env.GetInstanceData<AddonData>()->hnsw_index.New({handle});
  }

  explicit HnswIndexWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<HnswIndexWrap>(info) {
    if (!info[0].IsExternal()) {
      throw Napi::TypeError::New(info.Env(),
                                 "HnswIndex has no public constructor. Use build or load.");
    }
    index_ = std::move(*info[0].As<Napi::External<std::unique_ptr<HnswIndex>>>().Data());
  }

 private:
  Napi::Value Search(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const ArrayView<float> queries = Float32Argument(info[0], "queries");
    const std::size_t count = SizeArgument(info[1], "count", 0, kMaxCount);
    const std::size_t k = SizeArgument(info[2], "k", 1, kMaxCount);
    const std::size_t expansion = SizeArgument(info[3], "expansionSearch", 0, 1 << 20);
    ExpectLength(env, "queries", CheckedProduct(env, count, index_->dimensions()), queries.size);
    const BitsetView allow = AllowArgument(info[4], index_->size());
    const SearchRows out = SearchOutputArgument(info[5], count, k);
    ThrowUnlessOk(env, index_->Search(queries.data, count, k, expansion, allow, out));
    return env.Undefined();
  }

  Napi::Value Serialize(const Napi::CallbackInfo& info) {
    const std::size_t size = index_->SerializedSize();
    Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), size);
    ThrowUnlessOk(info.Env(), index_->Serialize(bytes.Data(), size));
    return bytes;
  }

  Napi::Value Size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->size()));
  }
  Napi::Value Dimensions(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->dimensions()));
  }
  Napi::Value Connectivity(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->connectivity()));
  }
  Napi::Value Isa(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), index_->kernels().isa);
  }

  std::unique_ptr<HnswIndex> index_;
};

/// Carries one build to a libuv worker and its result back. Deletes itself after the promise is settled.
class BuildWorker : public Napi::AsyncWorker {
 public:
  BuildWorker(Napi::Env env, AlignedBuffer vectors, std::size_t size, std::size_t dimensions,
              const HnswBuildOptions& options, const KernelTable& kernels)
      : Napi::AsyncWorker(env, "tandem.HnswIndex.build"),
        deferred_(Napi::Promise::Deferred::New(env)),
        vectors_(std::move(vectors)),
        size_(size),
        dimensions_(dimensions),
        options_(options),
        kernels_(&kernels) {}

  Napi::Promise Start(const Napi::Value& on_progress) {
    if (!on_progress.IsUndefined()) {
      progress_ = Napi::ThreadSafeFunction::New(Env(), on_progress.As<Napi::Function>(),
                                                "tandem.HnswIndex.build.progress", 0, 1);
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
          const std::size_t now = added_.load(std::memory_order_relaxed);
          if (now == reported) continue;
          reported = now;
          Report(now);
        }
      });
    }
    status_ = HnswIndex::Build(std::move(vectors_), size_, dimensions_, options_, *kernels_,
                               &added_, &cancel_, &index_);
    if (has_progress_) {
      {
        std::lock_guard<std::mutex> lock(mutex);
        done = true;
      }
      ended.notify_one();
      reporter.join();
      if (status_.ok()) Report(size_);
      progress_.Release();
    }
  }

  void OnOK() override {
    const Napi::HandleScope scope(Env());
    if (status_.ok()) {
      deferred_.Resolve(HnswIndexWrap::Wrap(Env(), std::move(index_)));
    } else {
      deferred_.Reject(ErrorOf(Env(), status_).Value());
    }
  }

  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  void Report(std::size_t added) {
    progress_.NonBlockingCall([added](Napi::Env env, Napi::Function callback) {
      callback.Call({Napi::Number::New(env, static_cast<double>(added))});
    });
  }

  Napi::Promise::Deferred deferred_;
  AlignedBuffer vectors_;
  std::size_t size_;
  std::size_t dimensions_;
  HnswBuildOptions options_;
  const KernelTable* kernels_;
  Napi::ThreadSafeFunction progress_;
  bool has_progress_ = false;
  std::atomic<std::size_t> added_{0};
  std::atomic<bool> cancel_{false};
  Status status_;
  std::unique_ptr<HnswIndex> index_;
};

/// Argument errors are thrown; what is wrong with the vectors rejects the promise.
Napi::Value Build(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> vectors = Float32Argument(info[0], "vectors");
  const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
  const Napi::Object given = ObjectArgument(info[2], "options");
  const KernelTable& kernels = KernelsArgument(info[3]);
  if (vectors.size % dimensions != 0) {
    throw Napi::RangeError::New(env, "Expected a multiple of " + std::to_string(dimensions) +
                                         " (dimensions) as length of vectors, received " +
                                         std::to_string(vectors.size) + ".");
  }
  HnswBuildOptions options;
  options.connectivity = SizeArgument(given.Get("connectivity"), "connectivity", 0, 1024);
  options.expansion_add = SizeArgument(given.Get("expansionAdd"), "expansionAdd", 0, 1 << 20);
  options.threads = SizeArgument(given.Get("threads"), "threads", 1, 256);
  const Napi::Value on_progress = given.Get("onProgress");
  if (!on_progress.IsUndefined() && !on_progress.IsFunction()) {
    throw Napi::TypeError::New(env, "Expected function or undefined for onProgress.");
  }
  const std::size_t size = vectors.size / dimensions;
  AlignedBuffer copy;
  Status status = CheckVectors(kernels, vectors.data, size, dimensions, "vectors");
  if (status.ok() && !copy.Reserve(vectors.size)) {
    status = Status::Internal("Out of memory for a copy of the vectors.");
  }
  if (!status.ok()) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(ErrorOf(env, status).Value());
    return deferred.Promise();
  }
  if (vectors.size > 0) std::memcpy(copy.data(), vectors.data, vectors.size * sizeof(float));
  auto* worker = new BuildWorker(env, std::move(copy), size, dimensions, options, kernels);
  return worker->Start(on_progress);
}

Napi::Value Load(const Napi::CallbackInfo& info) {
  const ArrayView<std::uint8_t> bytes = Uint8Argument(info[0], "bytes");
  const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
  const KernelTable& kernels = KernelsArgument(info[2]);
  std::unique_ptr<HnswIndex> index;
  ThrowUnlessOk(info.Env(), HnswIndex::Load(bytes.data, bytes.size, dimensions, kernels, &index));
  return HnswIndexWrap::Wrap(info.Env(), std::move(index));
}

}  // namespace

Napi::Object DefineHnswIndex(Napi::Env env) {
  env.GetInstanceData<AddonData>()->hnsw_index = Napi::Persistent(HnswIndexWrap::Define(env));
  Napi::Object statics = Napi::Object::New(env);
  statics.Set("build", Napi::Function::New<Build>(env, "build"));
  statics.Set("load", Napi::Function::New<Load>(env, "load"));
  return statics;
}

}  // namespace tandem
