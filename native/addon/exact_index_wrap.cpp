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
                       {InstanceMethod<&ExactIndexWrap::Search>("search"),
                        InstanceMethod<&ExactIndexWrap::Score>("score"),
                        InstanceAccessor<&ExactIndexWrap::Size>("size"),
                        InstanceAccessor<&ExactIndexWrap::Dimensions>("dimensions"),
                        InstanceAccessor<&ExactIndexWrap::Isa>("isa")});
  }

  explicit ExactIndexWrap(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<ExactIndexWrap>(info), index_(KernelsArgument(info[2])) {
    const ArrayView<float> vectors = Float32Argument(info[0], "vectors");
    const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
    if (vectors.size % dimensions != 0) {
      throw Napi::RangeError::New(info.Env(), "Expected a multiple of " +
                                                  std::to_string(dimensions) +
                                                  " (dimensions) as length of vectors, received " +
                                                  std::to_string(vectors.size) + ".");
    }
    ThrowUnlessOk(info.Env(), index_.Reset(vectors.data, vectors.size / dimensions, dimensions));
    vectors_ = Napi::Persistent(info[0].As<Napi::Object>());
  }

 private:
  /// The vectors may have been transferred to another thread since: their memory is gone then.
  void ExpectVectors(Napi::Env env) {
    const ArrayView<float> now = Float32Argument(vectors_.Value(), "vectors");
    if (now.data == index_.vectors() && now.size == index_.size() * index_.dimensions()) return;
    throw Napi::TypeError::New(env,
                               "Expected the vectors of this index to stay in place, but their "
                               "ArrayBuffer was transferred. Build the index from a copy.");
  }

  Napi::Value Search(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ExpectVectors(env);
    const ArrayView<float> queries = Float32Argument(info[0], "queries");
    const std::size_t count = SizeArgument(info[1], "count", 0, kMaxCount);
    const std::size_t k = SizeArgument(info[2], "k", 1, kMaxCount);
    ExpectLength(env, "queries", CheckedProduct(env, count, index_.dimensions()), queries.size);
    const BitsetView allow = AllowArgument(info[3], index_.size());
    const SearchRows out = SearchOutputArgument(info[4], count, k);
    ThrowUnlessOk(env, index_.Search(queries.data, count, k, allow, out));
    return env.Undefined();
  }

  Napi::Value Score(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ExpectVectors(env);
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
