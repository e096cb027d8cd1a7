// The JavaScript class ExactIndex. Holds a reference to the caller's Float32Array instead of a copy.

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/exact_index.h"

namespace tandem {
namespace {

class ExactIndexWrap : public Napi::ObjectWrap<ExactIndexWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ExactIndex",
                       {InstanceMethod<&ExactIndexWrap::AddCodes>("addCodes"),
                        InstanceMethod<&ExactIndexWrap::Search>("search"),
                        InstanceMethod<&ExactIndexWrap::Score>("score"),
                        InstanceAccessor<&ExactIndexWrap::Size>("size"),
                        InstanceAccessor<&ExactIndexWrap::Dimensions>("dimensions"),
                        InstanceAccessor<&ExactIndexWrap::Isa>("isa")});
  }

  explicit ExactIndexWrap(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<ExactIndexWrap>(info), index_(KernelsArgument(info[2])) {
    const ArrayView<float> vectors = Float32Argument(info[0], "vectors");
    const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
    ThrowUnlessOk(
        info.Env(),
        index_.Reset(vectors.data, RowsArgument(info.Env(), "vectors", vectors.size, dimensions),
                     dimensions));
    vectors_ = Napi::Persistent(info[0].As<Napi::Object>());
  }

 private:
  void ExpectVectors() const {
    ExpectInPlace(vectors_.Value(), index_.vectors(), index_.size() * index_.dimensions());
  }

  Napi::Value AddCodes(const Napi::CallbackInfo& info) {
    ExpectVectors();
    ThrowUnlessOk(info.Env(), index_.AddCodes());
    return info.Env().Undefined();
  }

  Napi::Value Search(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ExpectVectors();
    const ArrayView<float> queries = Float32Argument(info[0], "queries");
    const std::size_t count = SizeArgument(info[1], "count", 0, kMaxCount);
    const std::size_t k = SizeArgument(info[2], "k", 1, kMaxCount);
    ExpectLength(env, "queries", CheckedProduct(env, count, index_.dimensions()), queries.size);
    const SearchRows out = SearchOutputArgument(info[4], count, k);
    if (info[3].IsTypedArray() &&
        info[3].As<Napi::TypedArray>().TypedArrayType() == napi_int32_array) {
      const ArrayView<std::int32_t> slots = Int32Argument(info[3], "allow");
      ThrowUnlessOk(env, index_.SearchSlots(queries.data, count, k, slots.data, slots.size, out));
    } else {
      const BitsetView allow = AllowArgument(info[3], index_.size());
      ThrowUnlessOk(env, index_.Search(queries.data, count, k, allow, out));
    }
    return env.Undefined();
  }

  Napi::Value Score(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ExpectVectors();
    const ArrayView<float> query = Float32Argument(info[0], "query");
    const ArrayView<std::int32_t> slots = Int32Argument(info[1], "slots");
    const ArrayView<float> out = Float32Argument(info[2], "out");
    ExpectLength(env, "query", index_.dimensions(), query.size);
    ExpectLength(env, "out", slots.size, out.size);
    ThrowUnlessOk(env, index_.Score(query.data, slots.data, slots.size, out.data));
    return env.Undefined();
  }

  Napi::Value Size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_.size()));
  }
  Napi::Value Dimensions(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(index_.dimensions()));
  }
  Napi::Value Isa(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), index_.kernels().isa);
  }

  ExactIndex index_;
  Napi::ObjectReference vectors_;
};

}  // namespace

Napi::Function DefineExactIndex(Napi::Env env) { return ExactIndexWrap::Define(env); }

}  // namespace tandem
