// ClusterIndex.build and .load, and the class of their results. Holds a reference to the caller's Float32Array.

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/build_worker.h"
#include "addon/classes.h"
#include "addon/external_memory.h"
#include "addon/handover.h"
#include "addon/search_worker.h"
#include "core/indexes/cluster_index.h"
#include "core/indexes/vector_checks.h"

namespace tandem {
namespace {

/// What the constructor takes over: a pointer to it travels through JavaScript as an External.
struct Made {
  std::shared_ptr<const ClusterIndex> index;
  Napi::Value vectors;
};

class ClusterIndexWrap : public Napi::ObjectWrap<ClusterIndexWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ClusterIndex",
                       {InstanceMethod<&ClusterIndexWrap::Search>("search"),
                        InstanceMethod<&ClusterIndexWrap::SearchApart>("searchApart"),
                        InstanceMethod<&ClusterIndexWrap::Serialize>("serialize"),
                        InstanceMethod<&ClusterIndexWrap::Share>("share"),
                        InstanceAccessor<&ClusterIndexWrap::Size>("size"),
                        InstanceAccessor<&ClusterIndexWrap::Dimensions>("dimensions"),
                        InstanceAccessor<&ClusterIndexWrap::Clusters>("clusters"),
                        InstanceAccessor<&ClusterIndexWrap::Recall>("recall"),
                        InstanceAccessor<&ClusterIndexWrap::Isa>("isa")});
  }

  static Napi::Object Wrap(Napi::Env env, std::shared_ptr<const ClusterIndex> index,
                           const Napi::Value& vectors) {
    Made made = {std::move(index), vectors};
    const auto handle = Napi::External<Made>::New(env, &made);
    return env.GetInstanceData<AddonData>()->cluster_index.New({handle});
  }

  explicit ClusterIndexWrap(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<ClusterIndexWrap>(info) {
    if (!info[0].IsExternal()) {
      throw Napi::TypeError::New(
          info.Env(), "ClusterIndex has no public constructor. Use build, load or attach.");
    }
    Made& made = *info[0].As<Napi::External<Made>>().Data();
    index_ = std::move(made.index);
    vectors_ = Napi::Persistent(made.vectors.As<Napi::Object>());
    // An index that several threads share is told of once, by the thread that loaded it.
    if (index_.use_count() == 1) memory_.Report(info.Env(), index_->SerializedSize());
  }

  void Finalize(Napi::Env env) override { memory_.Report(env, 0); }

 private:
  /// A search with its arguments checked, to be run on any thread while they live.
  std::function<Status()> SearchOf(const Napi::CallbackInfo& info) const {
    const Napi::Env env = info.Env();
    ExpectInPlace(vectors_.Value(), index_->vectors(), index_->size() * index_->dimensions());
    const ArrayView<float> queries = Float32Argument(info[0], "queries");
    const std::size_t count = SizeArgument(info[1], "count", 0, kMaxCount);
    const std::size_t k = SizeArgument(info[2], "k", 1, kMaxCount);
    ExpectLength(env, "queries", CheckedProduct(env, count, index_->dimensions()), queries.size);
    const BitsetView allow = AllowArgument(info[3], index_->size());
    const double selectivity = NumberArgument(info[4], "selectivity");
    const SearchRows out = SearchOutputArgument(info[5], count, k);
    const ClusterIndex* const index = index_.get();
    return [=] { return index->Search(queries.data, count, k, allow, selectivity, out); };
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
    return Handover<ClusterIndex>::Put(info.Env(), index_);
  }

  Napi::Value Size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->size()));
  }
  Napi::Value Dimensions(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->dimensions()));
  }
  Napi::Value Clusters(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->clusters()));
  }
  Napi::Value Recall(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), index_->recall());
  }
  Napi::Value Isa(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), index_->kernels().isa);
  }

  std::shared_ptr<const ClusterIndex> index_;
  Napi::ObjectReference vectors_;
  ExternalMemory memory_;
};

/// Argument errors are thrown; what is wrong with the vectors rejects the promise.
Napi::Value Build(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> vectors = Float32Argument(info[0], "vectors");
  const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
  const Napi::Object given = ObjectArgument(info[2], "options");
  const KernelTable& kernels = KernelsArgument(info[3]);
  const std::size_t size = RowsArgument(env, "vectors", vectors.size, dimensions);
  const ArrayView<float> queries = Float32Argument(given.Get("queries"), "queries");
  const std::size_t query_count = RowsArgument(env, "queries", queries.size, dimensions);
  const std::size_t k = SizeArgument(given.Get("k"), "k", 1, kMaxCount);
  const double target = NumberArgument(given.Get("recallTarget"), "recallTarget");
  const Napi::Value on_progress = ProgressOption(given);
  Status status = CheckVectors(kernels, vectors.data, size, dimensions, "vectors");
  if (status.ok()) {
    status = CheckVectors(kernels, queries.data, query_count, dimensions, "queries");
  }
  if (!status.ok()) return Rejected(env, status);

  const auto held =
      std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[0].As<Napi::Object>()));
  const std::vector<float> copy(queries.data, queries.data + queries.size);
  const float* const rows = vectors.data;
  const KernelTable* const table = &kernels;
  auto* worker = new BuildWorker<ClusterIndex>(
      env, "tandem.ClusterIndex.build",
      [=](std::atomic<std::size_t>* done, const std::atomic<bool>* cancel,
          std::unique_ptr<ClusterIndex>* index) {
        return ClusterIndex::Build(rows, size, dimensions, {copy.data(), query_count, k, target},
                                   *table, done, cancel, index);
      },
      [held](Napi::Env scope, std::unique_ptr<ClusterIndex> index) {
        const Napi::Object wrapped = ClusterIndexWrap::Wrap(scope, std::move(index), held->Value());
        return wrapped;
      });
  return worker->Start(on_progress, ClusterIndex::BuildWork(size));
}

/// What a load reads while it runs off the JavaScript thread.
struct Held {
  explicit Held(const Napi::CallbackInfo& info)
      : bytes(Napi::Persistent(info[0].As<Napi::Object>())),
        vectors(Napi::Persistent(info[1].As<Napi::Object>())) {}
  Napi::ObjectReference bytes;
  Napi::ObjectReference vectors;
};

/// Argument errors are thrown; what is wrong with the bytes or the vectors rejects the promise.
Napi::Value Load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<std::uint8_t> bytes = Uint8Argument(info[0], "bytes");
  const ArrayView<float> vectors = Float32Argument(info[1], "vectors");
  const std::size_t dimensions = SizeArgument(info[2], "dimensions", 1, kMaxDimensions);
  const KernelTable& kernels = KernelsArgument(info[3]);
  const std::size_t size = RowsArgument(env, "vectors", vectors.size, dimensions);
  const auto held = std::make_shared<Held>(info);
  const KernelTable* const table = &kernels;
  auto* worker = new BuildWorker<ClusterIndex>(
      env, "tandem.ClusterIndex.load",
      [=](std::atomic<std::size_t>*, const std::atomic<bool>*,
          std::unique_ptr<ClusterIndex>* index) {
        const Status status = CheckVectors(*table, vectors.data, size, dimensions, "vectors");
        if (!status.ok()) return status;
        return ClusterIndex::Load(bytes.data, bytes.size, vectors.data, size, dimensions, *table,
                                  index);
      },
      [held](Napi::Env scope, std::unique_ptr<ClusterIndex> index) {
        return ClusterIndexWrap::Wrap(scope, std::move(index), held->vectors.Value());
      });
  return worker->Start(env.Undefined(), 0);
}

/// The index of a ticket, over this thread's view of the vectors that it was made over.
Napi::Value Attach(const Napi::CallbackInfo& info) {
  std::shared_ptr<const ClusterIndex> index = Handover<ClusterIndex>::Redeem(info[0]);
  ExpectInPlace(info[1], index->vectors(), index->size() * index->dimensions());
  return ClusterIndexWrap::Wrap(info.Env(), std::move(index), info[1]);
}

}  // namespace

Napi::Object DefineClusterIndex(Napi::Env env) {
  env.GetInstanceData<AddonData>()->cluster_index = Napi::Persistent(ClusterIndexWrap::Define(env));
  Napi::Object statics = Napi::Object::New(env);
  statics.Set("build", Napi::Function::New<Build>(env, "build"));
  statics.Set("load", Napi::Function::New<Load>(env, "load"));
  statics.Set("attach", Napi::Function::New<Attach>(env, "attach"));
  return statics;
}

}  // namespace tandem
