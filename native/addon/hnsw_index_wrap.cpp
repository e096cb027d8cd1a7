// HnswIndex.build and .load, and the class of their results. Building runs on a libuv worker with its own helpers.

#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "addon/arguments.h"
#include "addon/build_worker.h"
#include "addon/classes.h"
#include "addon/external_memory.h"
#include "addon/handover.h"
#include "addon/search_worker.h"
#include "core/indexes/hnsw_index.h"
#include "core/indexes/vector_checks.h"

namespace tandem {
namespace {

class HnswIndexWrap : public Napi::ObjectWrap<HnswIndexWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "HnswIndex",
                       {InstanceMethod<&HnswIndexWrap::Search>("search"),
                        InstanceMethod<&HnswIndexWrap::SearchApart>("searchApart"),
                        InstanceMethod<&HnswIndexWrap::Serialize>("serialize"),
                        InstanceMethod<&HnswIndexWrap::Share>("share"),
                        InstanceAccessor<&HnswIndexWrap::Size>("size"),
                        InstanceAccessor<&HnswIndexWrap::Dimensions>("dimensions"),
                        InstanceAccessor<&HnswIndexWrap::Connectivity>("connectivity"),
                        InstanceAccessor<&HnswIndexWrap::Isa>("isa")});
  }

  /// A JavaScript object that owns `index`.
  static Napi::Object Wrap(Napi::Env env, std::shared_ptr<const HnswIndex> index) {
    const auto handle = Napi::External<std::shared_ptr<const HnswIndex>>::New(env, &index);
    return env.GetInstanceData<AddonData>()->hnsw_index.New({handle});
  }

  explicit HnswIndexWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<HnswIndexWrap>(info) {
    if (!info[0].IsExternal()) {
      throw Napi::TypeError::New(info.Env(),
                                 "HnswIndex has no public constructor. Use build, load or attach.");
    }
    index_ = std::move(*info[0].As<Napi::External<std::shared_ptr<const HnswIndex>>>().Data());
    // An index that several threads share is told of once, by the thread that loaded it.
    if (index_.use_count() == 1) memory_.Report(info.Env(), index_->SerializedSize());
  }

  void Finalize(Napi::Env env) override { memory_.Report(env, 0); }

 private:
  /// A search with its arguments checked, to be run on any thread while they live.
  std::function<Status()> SearchOf(const Napi::CallbackInfo& info) const {
    const Napi::Env env = info.Env();
    const ArrayView<float> queries = Float32Argument(info[0], "queries");
    const std::size_t count = SizeArgument(info[1], "count", 0, kMaxCount);
    const std::size_t k = SizeArgument(info[2], "k", 1, kMaxCount);
    const std::size_t expansion = SizeArgument(info[3], "expansionSearch", 0, 1 << 20);
    ExpectLength(env, "queries", CheckedProduct(env, count, index_->dimensions()), queries.size);
    const BitsetView allow = AllowArgument(info[4], index_->size());
    const SearchRows out = SearchOutputArgument(info[5], count, k);
    const HnswIndex* const index = index_.get();
    return [=] { return index->Search(queries.data, count, k, expansion, allow, out); };
  }

  Napi::Value Search(const Napi::CallbackInfo& info) {
    ThrowUnlessOk(info.Env(), SearchOf(info)());
    return info.Env().Undefined();
  }

  Napi::Value SearchApart(const Napi::CallbackInfo& info) {
    return SearchWorker::Start(info, SearchOf(info), info[5]);
  }

  Napi::Value Serialize(const Napi::CallbackInfo& info) {
    const std::size_t size = index_->SerializedSize();
    Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), size);
    ThrowUnlessOk(info.Env(), index_->Serialize(bytes.Data(), size));
    return bytes;
  }

  Napi::Value Share(const Napi::CallbackInfo& info) {
    return Handover<HnswIndex>::Put(info.Env(), index_);
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

  std::shared_ptr<const HnswIndex> index_;
  ExternalMemory memory_;
};

/// Argument errors are thrown; what is wrong with the vectors rejects the promise.
Napi::Value Build(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> vectors = Float32Argument(info[0], "vectors");
  const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
  const Napi::Object given = ObjectArgument(info[2], "options");
  const KernelTable& kernels = KernelsArgument(info[3]);
  HnswBuildOptions options;
  options.connectivity = SizeArgument(given.Get("connectivity"), "connectivity", 0, 1024);
  options.expansion_add = SizeArgument(given.Get("expansionAdd"), "expansionAdd", 0, 1 << 20);
  options.threads = SizeArgument(given.Get("threads"), "threads", 1, 256);
  const Napi::Value on_progress = ProgressOption(given);
  const std::size_t size = RowsArgument(env, "vectors", vectors.size, dimensions);
  const auto copy = std::make_shared<AlignedBuffer>();
  Status status = CheckVectors(kernels, vectors.data, size, dimensions, "vectors");
  if (status.ok() && !copy->Reserve(vectors.size)) {
    status = Status::Internal("Out of memory for a copy of the vectors.");
  }
  if (!status.ok()) return Rejected(env, status);
  if (vectors.size > 0) std::memcpy(copy->data(), vectors.data, vectors.size * sizeof(float));
  const KernelTable* const table = &kernels;
  auto* worker = new BuildWorker<HnswIndex>(
      env, "tandem.HnswIndex.build",
      [=](std::atomic<std::size_t>* done, const std::atomic<bool>* cancel,
          std::unique_ptr<HnswIndex>* index) {
        return HnswIndex::Build(std::move(*copy), size, dimensions, options, *table, done, cancel,
                                index);
      },
      [](Napi::Env scope, std::unique_ptr<HnswIndex> index) {
        return HnswIndexWrap::Wrap(scope, std::move(index));
      });
  return worker->Start(on_progress, size);
}

/// Argument errors are thrown; what is wrong with the bytes rejects the promise.
Napi::Value Load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<std::uint8_t> bytes = Uint8Argument(info[0], "bytes");
  const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
  const KernelTable& kernels = KernelsArgument(info[2]);
  const auto held =
      std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[0].As<Napi::Object>()));
  const KernelTable* const table = &kernels;
  auto* worker = new BuildWorker<HnswIndex>(
      env, "tandem.HnswIndex.load",
      [=](std::atomic<std::size_t>*, const std::atomic<bool>*, std::unique_ptr<HnswIndex>* index) {
        return HnswIndex::Load(bytes.data, bytes.size, dimensions, *table, index);
      },
      [held](Napi::Env scope, std::unique_ptr<HnswIndex> index) {
        return HnswIndexWrap::Wrap(scope, std::move(index));
      });
  return worker->Start(env.Undefined(), 0);
}

/// The index of a ticket.
Napi::Value Attach(const Napi::CallbackInfo& info) {
  return HnswIndexWrap::Wrap(info.Env(), Handover<HnswIndex>::Redeem(info[0]));
}

}  // namespace

Napi::Object DefineHnswIndex(Napi::Env env) {
  env.GetInstanceData<AddonData>()->hnsw_index = Napi::Persistent(HnswIndexWrap::Define(env));
  Napi::Object statics = Napi::Object::New(env);
  statics.Set("build", Napi::Function::New<Build>(env, "build"));
  statics.Set("load", Napi::Function::New<Load>(env, "load"));
  statics.Set("attach", Napi::Function::New<Attach>(env, "attach"));
  return statics;
}

}  // namespace tandem
