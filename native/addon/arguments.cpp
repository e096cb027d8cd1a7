// The types and messages of argument errors: a TypeError for a wrong type, a RangeError for a wrong
// value.

#include "addon/arguments.h"

#include <cmath>

#include "core/runtime/isa.h"

namespace tandem {
namespace {

std::string TypeNameOf(const Napi::Value& value) {
  if (value.IsNull()) return "null";
  if (value.IsTypedArray()) {
    switch (value.As<Napi::TypedArray>().TypedArrayType()) {
      case napi_float32_array:
        return "Float32Array";
      case napi_float64_array:
        return "Float64Array";
      case napi_int32_array:
        return "Int32Array";
      case napi_uint32_array:
        return "Uint32Array";
      case napi_uint8_array:
        return "Uint8Array";
      default:
        return "another typed array";
    }
  }
  if (value.IsArray()) return "Array";
  switch (value.Type()) {
    case napi_undefined:
      return "undefined";
    case napi_boolean:
      return "boolean";
    case napi_number:
      return "number";
    case napi_string:
      return "string";
    case napi_symbol:
      return "symbol";
    case napi_function:
      return "function";
    case napi_bigint:
      return "bigint";
    default:
      return "object";
  }
}

Napi::TypeError WrongType(const Napi::Value& value, const char* expected, const char* name) {
  return Napi::TypeError::New(value.Env(), std::string("Expected ") + expected + " for " + name +
                                               ", received " + TypeNameOf(value) + ".");
}

template <class T>
ArrayView<T> TypedArgument(const Napi::Value& value, napi_typedarray_type wanted,
                           const char* expected, const char* name) {
  napi_typedarray_type type = napi_int8_array;
  std::size_t length = 0;
  void* data = nullptr;
  // This call also checks the type: it fails for anything but a typed array.
  const napi_status status =
      napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
  if (status != napi_ok || type != wanted) throw WrongType(value, expected, name);
  return {static_cast<T*>(data), length};
}

/// Reads a table and the row that each item has in it. False when the object is left out.
bool ItemRowsField(const Napi::Object& weights, const char* name, FloatView* table,
                   Int32View* rows) {
  if (weights.Get(name).IsUndefined()) return false;
  const Napi::Object object = ObjectArgument(weights.Get(name), name);
  *table = FloatField(object, "table");
  *rows = Int32Field(object, "rows");
  return true;
}

}  // namespace

ArrayView<float> Float32Argument(const Napi::Value& value, const char* name) {
  return TypedArgument<float>(value, napi_float32_array, "Float32Array", name);
}
ArrayView<std::int32_t> Int32Argument(const Napi::Value& value, const char* name) {
  return TypedArgument<std::int32_t>(value, napi_int32_array, "Int32Array", name);
}
ArrayView<std::uint32_t> Uint32Argument(const Napi::Value& value, const char* name) {
  return TypedArgument<std::uint32_t>(value, napi_uint32_array, "Uint32Array", name);
}
ArrayView<std::uint8_t> Uint8Argument(const Napi::Value& value, const char* name) {
  return TypedArgument<std::uint8_t>(value, napi_uint8_array, "Uint8Array", name);
}

double NumberArgument(const Napi::Value& value, const char* name) {
  double number = 0;
  if (napi_get_value_double(value.Env(), value, &number) != napi_ok) {
    throw WrongType(value, "number", name);
  }
  return number;
}

std::size_t SizeArgument(const Napi::Value& value, const char* name, std::size_t least,
                         std::size_t most) {
  const double number = NumberArgument(value, name);
  if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most)) ||
      number != std::floor(number)) {
    throw Napi::RangeError::New(
        value.Env(), "Expected an integer from " + std::to_string(least) + " to " +
                         std::to_string(most) + " for " + name + ", received " +
                         Napi::Number::New(value.Env(), number).ToString().Utf8Value() + ".");
  }
  return static_cast<std::size_t>(number);
}

bool BooleanArgument(const Napi::Value& value, const char* name) {
  bool result = false;
  if (napi_get_value_bool(value.Env(), value, &result) != napi_ok) {
    throw WrongType(value, "boolean", name);
  }
  return result;
}

Napi::Object ObjectArgument(const Napi::Value& value, const char* name) {
  if (!value.IsObject() || value.IsFunction()) throw WrongType(value, "object", name);
  return value.As<Napi::Object>();
}

std::string StringArgument(const Napi::Value& value, const char* name) {
  if (!value.IsString()) throw WrongType(value, "string", name);
  return value.As<Napi::String>().Utf8Value();
}

void ExpectLength(Napi::Env env, const char* name, std::size_t expected, std::size_t received) {
  if (expected == received) return;
  throw Napi::RangeError::New(env, "Expected length " + std::to_string(expected) + " for " + name +
                                       ", received length " + std::to_string(received) + ".");
}

ArrayView<float> FloatField(const Napi::Object& object, const char* name) {
  return Float32Argument(object.Get(name), name);
}

ArrayView<std::int32_t> Int32Field(const Napi::Object& object, const char* name) {
  return Int32Argument(object.Get(name), name);
}

std::size_t WidthField(const Napi::Object& object, const char* name) {
  return SizeArgument(object.Get(name), name, 1, kMaxDimensions);
}

ItemInputViews ItemInputFields(const Napi::Object& weights) {
  ItemInputViews views;
  views.item_table = FloatField(weights, "itemTable");
  views.has_categories =
      ItemRowsField(weights, "categories", &views.category_table, &views.category_rows);
  if (views.has_categories) {
    const Napi::Object categories = weights.Get("categories").As<Napi::Object>();
    views.category_offsets = Int32Field(categories, "offsets");
    views.category_weights = FloatField(categories, "weights");
  }
  views.has_advertisers =
      ItemRowsField(weights, "advertisers", &views.advertiser_table, &views.advertiser_rows);
  views.has_prices = ItemRowsField(weights, "prices", &views.price_table, &views.price_rows);
  return views;
}

Precision PrecisionArgument(const Napi::Value& value) {
  if (value.IsUndefined()) return Precision::kF32;
  const std::string name = StringArgument(value, "precision");
  if (name == "f32") return Precision::kF32;
  if (name == "bf16") return Precision::kBf16;
  throw Napi::RangeError::New(
      value.Env(), "Expected \"f32\" or \"bf16\" for precision, received \"" + name + "\".");
}

const KernelTable& DefaultKernelTable(Napi::Env env) {
  const KernelTable* table = nullptr;
  ThrowUnlessOk(env, DefaultKernels(&table));
  return *table;
}

const KernelTable& KernelsArgument(const Napi::Value& value) {
  if (value.IsUndefined()) return DefaultKernelTable(value.Env());
  const KernelTable* table = nullptr;
  ThrowUnlessOk(value.Env(), FindKernels(StringArgument(value, "isa"), &table));
  return *table;
}

std::size_t RowsArgument(Napi::Env env, const char* name, std::size_t length,
                         std::size_t dimensions) {
  if (length % dimensions == 0) return length / dimensions;
  throw Napi::RangeError::New(env, "Expected a multiple of " + std::to_string(dimensions) +
                                       " (dimensions) as length of " + name + ", received " +
                                       std::to_string(length) + ".");
}

void ExpectInPlace(const Napi::Value& vectors, const float* data, std::size_t length) {
  const ArrayView<float> now = Float32Argument(vectors, "vectors");
  if (now.data == data && now.size == length) return;
  throw Napi::TypeError::New(vectors.Env(),
                             "Expected the vectors of this index to stay in place, but their "
                             "ArrayBuffer was transferred. Build the index from a copy.");
}

BitsetView AllowArgument(const Napi::Value& value, std::size_t size) {
  if (value.IsNull() || value.IsUndefined()) return BitsetView(nullptr, size);
  const ArrayView<std::uint32_t> words = Uint32Argument(value, "allow");
  ExpectLength(value.Env(), "allow", (size + 31) / 32, words.size);
  // An empty index has an empty bitset, whose pointer may be null. Null allows every item, and
  // there is none.
  return BitsetView(words.data, size);
}

SearchOutput SearchOutputArgument(const Napi::Value& value, std::size_t count, std::size_t k) {
  const Napi::Object object = ObjectArgument(value, "out");
  const std::size_t cells = CheckedProduct(value.Env(), count, k);
  const ArrayView<std::int32_t> rows = Int32Argument(object.Get("rows"), "out.rows");
  const ArrayView<float> scores = Float32Argument(object.Get("scores"), "out.scores");
  const ArrayView<std::int32_t> counts = Int32Argument(object.Get("counts"), "out.counts");
  ExpectLength(value.Env(), "out.rows", cells, rows.size);
  ExpectLength(value.Env(), "out.scores", cells, scores.size);
  ExpectLength(value.Env(), "out.counts", count, counts.size);
  return {rows.data, scores.data, counts.data};
}

Napi::Error ErrorOf(Napi::Env env, const Status& status) {
  const char* code = "ERR_INTERNAL";
  switch (status.code()) {
    case StatusCode::kOutOfRange:
      return Napi::RangeError::New(env, status.message());
    case StatusCode::kNonFinite:
      code = "ERR_NON_FINITE";
      break;
    case StatusCode::kIndexInvalid:
      code = "ERR_INDEX_INVALID";
      break;
    case StatusCode::kConfigInvalid:
      code = "ERR_CONFIG_INVALID";
      break;
    case StatusCode::kInternal:
    case StatusCode::kOk:
      break;
  }
  Napi::Error error = Napi::Error::New(env, status.message());
  error.Set("code", Napi::String::New(env, code));
  return error;
}

void ThrowUnlessOk(Napi::Env env, const Status& status) {
  if (!status.ok()) throw ErrorOf(env, status);
}

std::size_t CheckedProduct(Napi::Env env, std::size_t a, std::size_t b) {
  std::size_t product = 0;
  // 2^53 elements are more than any typed array holds. Below this bound, later sums do not wrap
  // either.
  if (__builtin_mul_overflow(a, b, &product) || product > (std::size_t{1} << 53)) {
    throw Napi::RangeError::New(env, "Expected sizes whose product is below 2^53, received " +
                                         std::to_string(a) + " x " + std::to_string(b) + ".");
  }
  return product;
}

}  // namespace tandem
