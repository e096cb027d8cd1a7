// ClusterIndex.build, load and attach, and the class of the objects they make. An object refers to
// the caller's Float32Array instead of copying it.

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/build_worker.h"
#include "addon/classes.h"
#include "addon/index_wrap.h"
#include "addon/ticket.h"
#include "core/indexes/cluster_index.h"
#include "core/indexes/vector_checks.h"

namespace tandem {
namespace {

class ClusterIndexWrap : public IndexWrap<ClusterIndexWrap, ClusterIndex> {
 public:
  static constexpr std::size_t kOutputArgument = 5;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ClusterIndex",
                       AllProperties({InstanceMethod("serialize", &ClusterIndexWrap::Serialize),
                                      InstanceAccessor<&ClusterIndexWrap::Clusters>("clusters"),
                                      InstanceAccessor<&ClusterIndexWrap::Recall>("recall")}));
  }

  /// A JavaScript object over `index` and the Float32Array that the index borrows.
  static Napi::Object Wrap(Napi::Env env, std::shared_ptr<const ClusterIndex> index,
                           const Napi::Value& vectors) {
    Parts parts = {std::move(index), vectors};
    const auto handle = Napi::External<Parts>::New(env, &parts);
    return env.GetInstanceData<AddonData>()->cluster_index.New({handle});
  }

  explicit ClusterIndexWrap(const Napi::CallbackInfo& info) : IndexWrap(info) {
    Parts& parts = FactoryArgument<Parts>(info, "ClusterIndex");
    vectors_ = Napi::Persistent(parts.vectors.As<Napi::Object>());
    SetIndex(info.Env(), std::move(parts.index));
  }

  std::function<Status()> SearchOf(const Napi::CallbackInfo& info) const {
    ExpectInPlace(vectors_.Value(), index_->vectors(), index_->size() * index_->dimensions());
    const QueryArguments q = Queries(info);
    const BitsetView allow = AllowArgument(info[3], index_->size());
    const double selectivity = NumberArgument(info[4], "selectivity");
    const SearchOutput out = SearchOutputArgument(info[kOutputArgument], q.count, q.k);
    const ClusterIndex* const index = index_.get();
    return [=] { return index->Search(q.queries, q.count, q.k, allow, selectivity, out); };
  }

 private:
  /// The arguments of the constructor. A pointer to them travels through JavaScript as an External.
  struct Parts {
    std::shared_ptr<const ClusterIndex> index;
    Napi::Value vectors;
  };

  Napi::Value Clusters(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->clusters()));
  }
  Napi::Value Recall(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), index_->recall());
  }

  Napi::ObjectReference vectors_;
};

/// Throws on wrong arguments. Vectors that cannot be indexed reject the promise.
Napi::Value Build(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const BuildArguments given(info);
  const ArrayView<float> queries = Float32Argument(given.options.Get("queries"), "queries");
  const std::size_t query_count = RowsArgument(env, "queries", queries.size, given.dimensions);
  const std::size_t k = SizeArgument(given.options.Get("k"), "k", 1, kMaxCount);
  const double target = NumberArgument(given.options.Get("recallTarget"), "recallTarget");
  Status status =
      CheckVectors(*given.kernels, given.vectors, given.size, given.dimensions, "vectors");
  if (status.ok()) {
    status = CheckVectors(*given.kernels, queries.data, query_count, given.dimensions, "queries");
  }
  if (!status.ok()) return Rejected(env, status);

  const std::vector<float> copy(queries.data, queries.data + queries.size);
  const auto build = [vectors = given.vectors, size = given.size, dimensions = given.dimensions,
                      kernels = given.kernels, copy, query_count, k, target](
                         std::atomic<std::size_t>* done, std::unique_ptr<ClusterIndex>* index) {
    return ClusterIndex::Build(vectors, size, dimensions, {copy.data(), query_count, k, target},
                               *kernels, done, index);
  };
  const auto wrap = [held = Hold(info[0])](Napi::Env scope, std::unique_ptr<ClusterIndex> index) {
    return ClusterIndexWrap::Wrap(scope, std::move(index), held->Value());
  };
  return BuildWorker<ClusterIndex>::Start(env, "tandem.ClusterIndex.build", build, wrap,
                                          given.on_progress, ClusterIndex::BuildWork(given.size));
}

/// Throws on wrong arguments. Bytes or vectors that are refused reject the promise.
Napi::Value Load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<std::uint8_t> bytes = Uint8Argument(info[0], "bytes");
  const ArrayView<float> vectors = Float32Argument(info[1], "vectors");
  const std::size_t dimensions = SizeArgument(info[2], "dimensions", 1, kMaxDimensions);
  const KernelTable* const kernels = &KernelsArgument(info[3]);
  const std::size_t size = RowsArgument(env, "vectors", vectors.size, dimensions);
  const auto load = [=](std::atomic<std::size_t>*, std::unique_ptr<ClusterIndex>* index) {
    const Status status = CheckVectors(*kernels, vectors.data, size, dimensions, "vectors");
    if (!status.ok()) return status;
    return ClusterIndex::Load(bytes.data, bytes.size, vectors.data, size, dimensions, *kernels,
                              index);
  };
  const auto wrap = [held_bytes = Hold(info[0]), held_vectors = Hold(info[1])](
                        Napi::Env scope, std::unique_ptr<ClusterIndex> index) {
    return ClusterIndexWrap::Wrap(scope, std::move(index), held_vectors->Value());
  };
  return BuildWorker<ClusterIndex>::Start(env, "tandem.ClusterIndex.load", load, wrap,
                                          env.Undefined(), 0);
}

/// The index of a ticket, over this thread's view of the vectors that the index was made over.
Napi::Value Attach(const Napi::CallbackInfo& info) {
  std::shared_ptr<const ClusterIndex> index = Tickets<ClusterIndex>::Redeem(info[0]);
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
