// What the wrappers of the three indexes share: reading the arguments of a search, running it
// inline or on a libuv worker, and the accessors that every index has.
#pragma once

#include <napi.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/build_worker.h"
#include "addon/external_memory.h"
#include "addon/search_worker.h"
#include "addon/ticket.h"
#include "core/indexes/bitset.h"
#include "core/indexes/search_output.h"
#include "core/runtime/status.h"

namespace tandem {

/// The first three arguments of every search: queries [count, dimensions], count and k.
struct QueryArguments {
  const float* queries;
  std::size_t count;
  std::size_t k;
};

/// The value that build, load or attach passes to the constructor of the class it makes. A
/// TypeError when JavaScript calls the constructor itself.
template <class T>
T& FactoryArgument(const Napi::CallbackInfo& info, const std::string& class_name) {
  if (!info[0].IsExternal()) {
    throw Napi::TypeError::New(
        info.Env(), class_name + " has no public constructor. Use build, load or attach.");
  }
  return *info[0].As<Napi::External<T>>().Data();
}

/// The arguments of build: vectors [size, dimensions], dimensions, options and the name of an
/// instruction set.
struct BuildArguments {
  explicit BuildArguments(const Napi::CallbackInfo& info)
      : vectors(Float32Argument(info[0], "vectors").data),
        dimensions(SizeArgument(info[1], "dimensions", 1, kMaxDimensions)),
        size(RowsArgument(info.Env(), "vectors", Float32Argument(info[0], "vectors").size,
                          dimensions)),
        options(ObjectArgument(info[2], "options")),
        kernels(&KernelsArgument(info[3])),
        on_progress(ProgressOption(options)) {}

  const float* vectors;
  std::size_t dimensions;
  std::size_t size;
  Napi::Object options;
  const KernelTable* kernels;
  Napi::Value on_progress;
};

/// Keeps a JavaScript object alive while a worker reads its memory. Copies share one reference,
/// which the last copy drops on the JavaScript thread.
inline std::shared_ptr<Napi::ObjectReference> Hold(const Napi::Value& value) {
  return std::make_shared<Napi::ObjectReference>(Napi::Persistent(value.As<Napi::Object>()));
}

/// Base of the JavaScript object of an Index. The class Wrap that derives from it provides:
///
///   std::function<Status()> SearchOf(info) const
///     A search whose arguments are checked. It may run on any thread while the index and the
///     arrays of the arguments live.
///   kOutputArgument
///     The position of the search output among the arguments.
template <class Wrap, class Index>
class IndexWrap : public Napi::ObjectWrap<Wrap> {
 public:
  void Finalize(Napi::Env env) override { memory_.Report(env, 0); }

 protected:
  using Base = Napi::ObjectWrap<Wrap>;
  using Properties = std::vector<typename Base::PropertyDescriptor>;
  using Shared = std::shared_ptr<const Index>;

  explicit IndexWrap(const Napi::CallbackInfo& info) : Base(info) {}

  /// The properties in `own`, followed by those that every index has.
  static Properties AllProperties(Properties own) {
    own.push_back(Base::InstanceMethod("search", &IndexWrap::Search));
    own.push_back(Base::InstanceMethod("searchAsync", &IndexWrap::SearchAsync));
    own.push_back(Base::InstanceMethod("share", &Wrap::Share));
    own.push_back(Base::InstanceAccessor("size", &IndexWrap::Size, nullptr));
    own.push_back(Base::InstanceAccessor("dimensions", &IndexWrap::Dimensions, nullptr));
    own.push_back(Base::InstanceAccessor("isa", &IndexWrap::Isa, nullptr));
    return own;
  }

  /// Sets the index of a new wrapper. When several threads share an index, only the thread that
  /// built or loaded it reports its memory to V8.
  void SetIndex(Napi::Env env, Shared index) {
    index_ = std::move(index);
    if (index_.use_count() == 1) memory_.Report(env, index_->SerializedSize());
  }

  QueryArguments Queries(const Napi::CallbackInfo& info) const {
    const ArrayView<float> queries = Float32Argument(info[0], "queries");
    const std::size_t count = SizeArgument(info[1], "count", 0, kMaxCount);
    const std::size_t k = SizeArgument(info[2], "k", 1, kMaxCount);
    ExpectLength(info.Env(), "queries", CheckedProduct(info.Env(), count, index_->dimensions()),
                 queries.size);
    return {queries.data, count, k};
  }

  Napi::Value Share(const Napi::CallbackInfo& info) {
    return Tickets<Index>::Issue(info.Env(), index_);
  }

  Napi::Value Serialize(const Napi::CallbackInfo& info) {
    const std::size_t size = index_->SerializedSize();
    Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), size);
    ThrowUnlessOk(info.Env(), index_->Serialize(bytes.Data(), size));
    return bytes;
  }

  Shared index_;
  ExternalMemory memory_;

 private:
  const Wrap& wrap() const { return static_cast<const Wrap&>(*this); }

  Napi::Value Search(const Napi::CallbackInfo& info) {
    ThrowUnlessOk(info.Env(), wrap().SearchOf(info)());
    return info.Env().Undefined();
  }
  Napi::Value SearchAsync(const Napi::CallbackInfo& info) {
    return SearchWorker::Start(info, wrap().SearchOf(info), info[Wrap::kOutputArgument]);
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
};

}  // namespace tandem
