// HnswIndex.build, load and attach, and the class of the objects they make. An object owns its
// vectors.

#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "addon/arguments.h"
#include "addon/build_worker.h"
#include "addon/classes.h"
#include "addon/index_wrap.h"
#include "addon/ticket.h"
#include "core/indexes/hnsw_index.h"
#include "core/indexes/vector_checks.h"

namespace tandem {
namespace {

class HnswIndexWrap : public IndexWrap<HnswIndexWrap, HnswIndex> {
 public:
  static constexpr std::size_t kOutputArgument = 5;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "HnswIndex",
        AllProperties({InstanceMethod("serialize", &HnswIndexWrap::Serialize),
                       InstanceAccessor<&HnswIndexWrap::Connectivity>("connectivity")}));
  }

  /// A JavaScript object that owns `index`.
  static Napi::Object Wrap(Napi::Env env, Shared index) {
    const auto handle = Napi::External<Shared>::New(env, &index);
    return env.GetInstanceData<AddonData>()->hnsw_index.New({handle});
  }

  explicit HnswIndexWrap(const Napi::CallbackInfo& info) : IndexWrap(info) {
    SetIndex(info.Env(), std::move(FactoryArgument<Shared>(info, "HnswIndex")));
  }

  std::function<Status()> SearchOf(const Napi::CallbackInfo& info) const {
    const QueryArguments q = Queries(info);
    const std::size_t expansion = SizeArgument(info[3], "expansionSearch", 0, 1 << 20);
    const BitsetView allow = AllowArgument(info[4], index_->size());
    const SearchOutput out = SearchOutputArgument(info[kOutputArgument], q.count, q.k);
    const HnswIndex* const index = index_.get();
    return [=] { return index->Search(q.queries, q.count, q.k, expansion, allow, out); };
  }

 private:
  Napi::Value Connectivity(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->connectivity()));
  }
};

/// Throws on wrong arguments. Vectors that cannot be indexed reject the promise.
Napi::Value Build(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const BuildArguments given(info);
  HnswBuildOptions options;
  options.connectivity = SizeArgument(given.options.Get("connectivity"), "connectivity", 0, 1024);
  options.expansion_add =
      SizeArgument(given.options.Get("expansionAdd"), "expansionAdd", 0, 1 << 20);
  options.threads = SizeArgument(given.options.Get("threads"), "threads", 1, 256);
  const auto copy = std::make_shared<AlignedBuffer>();
  const std::size_t length = given.size * given.dimensions;
  Status status =
      CheckVectors(*given.kernels, given.vectors, given.size, given.dimensions, "vectors");
  if (status.ok() && !copy->Reserve(length)) {
    status = Status::Internal("Out of memory for a copy of the vectors.");
  }
  if (!status.ok()) return Rejected(env, status);
  if (length > 0) std::memcpy(copy->data(), given.vectors, length * sizeof(float));
  const auto build = [copy, options, size = given.size, dimensions = given.dimensions,
                      kernels = given.kernels](std::atomic<std::size_t>* done,
                                               std::unique_ptr<HnswIndex>* index) {
    return HnswIndex::Build(std::move(*copy), size, dimensions, options, *kernels, done, index);
  };
  return BuildWorker<HnswIndex>::Start(env, "tandem.HnswIndex.build", build, HnswIndexWrap::Wrap,
                                       given.on_progress, given.size);
}

/// Throws on wrong arguments. Bytes that are refused reject the promise.
Napi::Value Load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<std::uint8_t> bytes = Uint8Argument(info[0], "bytes");
  const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
  const KernelTable* const kernels = &KernelsArgument(info[2]);
  const auto load = [=](std::atomic<std::size_t>*, std::unique_ptr<HnswIndex>* index) {
    return HnswIndex::Load(bytes.data, bytes.size, dimensions, *kernels, index);
  };
  const auto wrap = [held = Hold(info[0])](Napi::Env scope, std::unique_ptr<HnswIndex> index) {
    return HnswIndexWrap::Wrap(scope, std::move(index));
  };
  return BuildWorker<HnswIndex>::Start(env, "tandem.HnswIndex.load", load, wrap, env.Undefined(),
                                       0);
}

/// The index of a ticket.
Napi::Value Attach(const Napi::CallbackInfo& info) {
  return HnswIndexWrap::Wrap(info.Env(), Tickets<HnswIndex>::Redeem(info[0]));
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
