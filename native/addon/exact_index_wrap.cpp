// The JavaScript class ExactIndex. Holds a reference to the caller's Float32Array instead of a copy.

#include <functional>
#include <memory>
#include <utility>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "addon/external_memory.h"
#include "addon/handover.h"
#include "addon/search_worker.h"
#include "core/indexes/exact_index.h"

namespace tandem {
namespace {

class ExactIndexWrap : public Napi::ObjectWrap<ExactIndexWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ExactIndex",
                       {InstanceMethod<&ExactIndexWrap::AddCodes>("addCodes"),
                        InstanceMethod<&ExactIndexWrap::Search>("search"),
                        InstanceMethod<&ExactIndexWrap::SearchApart>("searchApart"),
                        InstanceMethod<&ExactIndexWrap::Score>("score"),
                        InstanceMethod<&ExactIndexWrap::Share>("share"),
                        InstanceAccessor<&ExactIndexWrap::Size>("size"),
                        InstanceAccessor<&ExactIndexWrap::Dimensions>("dimensions"),
                        InstanceAccessor<&ExactIndexWrap::Isa>("isa")});
  }

  /// Vectors and their width, or the ticket of an index over the same vectors on another thread.
  explicit ExactIndexWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ExactIndexWrap>(info) {
    const ArrayView<float> vectors = Float32Argument(info[0], "vectors");
    vectors_ = Napi::Persistent(info[0].As<Napi::Object>());
    if (info[1].IsBigInt()) {
      index_ = Handover<ExactIndex>::Redeem(info[1]);
      ExpectVectors();
      return;
    }
    const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
    const std::size_t size = RowsArgument(info.Env(), "vectors", vectors.size, dimensions);
    own_ = std::make_shared<ExactIndex>(KernelsArgument(info[2]));
    ThrowUnlessOk(info.Env(), own_->Reset(vectors.data, size, dimensions));
    index_ = own_;
    // V8 counts what an ArrayBuffer holds, and not what threads share.
    if (!info[0].As<Napi::TypedArray>().ArrayBuffer().IsArrayBuffer()) {
      memory_.Report(info.Env(), vectors.size * sizeof(float));
    }
  }

  void Finalize(Napi::Env env) override { memory_.Report(env, 0); }

 private:
  void ExpectVectors() const {
    ExpectInPlace(vectors_.Value(), index_->vectors(), index_->size() * index_->dimensions());
  }

  Napi::Value AddCodes(const Napi::CallbackInfo& info) {
    ExpectVectors();
    if (own_ == nullptr) {
      throw Napi::TypeError::New(info.Env(),
                                 "Expected an index of one thread for addCodes, received a shared "
                                 "one. Add codes before share().");
    }
    ThrowUnlessOk(info.Env(), own_->AddCodes());
    return info.Env().Undefined();
  }

  /// A search with its arguments checked, to be run on any thread while they live.
  std::function<Status()> SearchOf(const Napi::CallbackInfo& info) const {
    const Napi::Env env = info.Env();
    ExpectVectors();
    const ArrayView<float> queries = Float32Argument(info[0], "queries");
    const std::size_t count = SizeArgument(info[1], "count", 0, kMaxCount);
    const std::size_t k = SizeArgument(info[2], "k", 1, kMaxCount);
    ExpectLength(env, "queries", CheckedProduct(env, count, index_->dimensions()), queries.size);
    const SearchRows out = SearchOutputArgument(info[4], count, k);
    const ExactIndex* const index = index_.get();
    if (info[3].IsTypedArray() &&
        info[3].As<Napi::TypedArray>().TypedArrayType() == napi_int32_array) {
      const ArrayView<std::int32_t> slots = Int32Argument(info[3], "allow");
      return
          [=] { return index->SearchSlots(queries.data, count, k, slots.data, slots.size, out); };
    }
    const BitsetView allow = AllowArgument(info[3], index_->size());
    return [=] { return index->Search(queries.data, count, k, allow, out); };
  }

  Napi::Value Search(const Napi::CallbackInfo& info) {
    ThrowUnlessOk(info.Env(), SearchOf(info)());
    return info.Env().Undefined();
  }

  Napi::Value SearchApart(const Napi::CallbackInfo& info) {
    return SearchWorker::Start(info, SearchOf(info), info[4]);
  }

  Napi::Value Score(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ExpectVectors();
    const ArrayView<float> query = Float32Argument(info[0], "query");
    const ArrayView<std::int32_t> slots = Int32Argument(info[1], "slots");
    const ArrayView<float> out = Float32Argument(info[2], "out");
    ExpectLength(env, "query", index_->dimensions(), query.size);
    ExpectLength(env, "out", slots.size, out.size);
    ThrowUnlessOk(env, index_->Score(query.data, slots.data, slots.size, out.data));
    return env.Undefined();
  }

  Napi::Value Share(const Napi::CallbackInfo& info) {
    own_.reset();
    return Handover<ExactIndex>::Put(info.Env(), index_);
  }

  Napi::Value Size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->size()));
  }
  Napi::Value Dimensions(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_->dimensions()));
  }
  Napi::Value Isa(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), index_->kernels().isa);
  }

  std::shared_ptr<const ExactIndex> index_;
  /// The same while no other thread has it, and it may change.
  std::shared_ptr<ExactIndex> own_;
  Napi::ObjectReference vectors_;
  ExternalMemory memory_;
};

}  // namespace

Napi::Function DefineExactIndex(Napi::Env env) { return ExactIndexWrap::Define(env); }

}  // namespace tandem
