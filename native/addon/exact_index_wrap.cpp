// The JavaScript class ExactIndex. An object refers to the caller's Float32Array instead of copying
// it.

#include <functional>
#include <memory>
#include <utility>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "addon/index_wrap.h"
#include "addon/ticket.h"
#include "core/indexes/exact_index.h"

namespace tandem {
namespace {

class ExactIndexWrap : public IndexWrap<ExactIndexWrap, ExactIndex> {
 public:
  static constexpr std::size_t kOutputArgument = 4;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ExactIndex",
                       AllProperties({InstanceMethod<&ExactIndexWrap::AddCodes>("addCodes"),
                                      InstanceMethod<&ExactIndexWrap::Score>("score")}));
  }

  /// Takes the vectors, and either their width or the ticket of an index over the same vectors on
  /// another thread.
  explicit ExactIndexWrap(const Napi::CallbackInfo& info) : IndexWrap(info) {
    const ArrayView<float> vectors = Float32Argument(info[0], "vectors");
    vectors_ = Napi::Persistent(info[0].As<Napi::Object>());
    if (info[1].IsBigInt()) {
      index_ = Tickets<ExactIndex>::Redeem(info[1]);
      ExpectVectors();
      return;
    }
    const std::size_t dimensions = SizeArgument(info[1], "dimensions", 1, kMaxDimensions);
    const std::size_t size = RowsArgument(info.Env(), "vectors", vectors.size, dimensions);
    unshared_ = std::make_shared<ExactIndex>(KernelsArgument(info[2]));
    ThrowUnlessOk(info.Env(), unshared_->Reset(vectors.data, size, dimensions));
    index_ = unshared_;
    // V8 counts the memory of an ArrayBuffer itself, but not that of a SharedArrayBuffer.
    if (!info[0].As<Napi::TypedArray>().ArrayBuffer().IsArrayBuffer()) {
      memory_.Report(info.Env(), vectors.size * sizeof(float));
    }
  }

  std::function<Status()> SearchOf(const Napi::CallbackInfo& info) const {
    ExpectVectors();
    const QueryArguments q = Queries(info);
    const SearchOutput out = SearchOutputArgument(info[kOutputArgument], q.count, q.k);
    const ExactIndex* const index = index_.get();
    if (info[3].IsTypedArray() &&
        info[3].As<Napi::TypedArray>().TypedArrayType() == napi_int32_array) {
      const ArrayView<std::int32_t> rows = Int32Argument(info[3], "allow");
      return [=] { return index->SearchRows(q.queries, q.count, q.k, rows.data, rows.size, out); };
    }
    const BitsetView allow = AllowArgument(info[3], index_->size());
    return [=] { return index->Search(q.queries, q.count, q.k, allow, out); };
  }

  /// After this call the index must not change any more.
  Napi::Value Share(const Napi::CallbackInfo& info) {
    unshared_.reset();
    return IndexWrap::Share(info);
  }

 private:
  void ExpectVectors() const {
    ExpectInPlace(vectors_.Value(), index_->vectors(), index_->size() * index_->dimensions());
  }

  Napi::Value AddCodes(const Napi::CallbackInfo& info) {
    ExpectVectors();
    if (unshared_ == nullptr) {
      throw Napi::TypeError::New(info.Env(),
                                 "Expected an index of one thread for addCodes, received a shared "
                                 "one. Add codes before share().");
    }
    ThrowUnlessOk(info.Env(), unshared_->AddCodes());
    return info.Env().Undefined();
  }

  Napi::Value Score(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ExpectVectors();
    const ArrayView<float> query = Float32Argument(info[0], "query");
    const ArrayView<std::int32_t> rows = Int32Argument(info[1], "rows");
    const ArrayView<float> out = Float32Argument(info[2], "out");
    ExpectLength(env, "query", index_->dimensions(), query.size);
    ExpectLength(env, "out", rows.size, out.size);
    ThrowUnlessOk(env, index_->Score(query.data, rows.data, rows.size, out.data));
    return env.Undefined();
  }

  /// The index while no other thread has it, so that it may change. Null after share().
  std::shared_ptr<ExactIndex> unshared_;
  Napi::ObjectReference vectors_;
};

}  // namespace

Napi::Function DefineExactIndex(Napi::Env env) { return ExactIndexWrap::Define(env); }

}  // namespace tandem
