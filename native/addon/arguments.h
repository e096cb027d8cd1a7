// Reads and checks JavaScript arguments, and turns a failed Status of the core into a JavaScript
// error.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/indexes/bitset.h"
#include "core/indexes/search_output.h"
#include "core/runtime/status.h"
#include "core/runtime/views.h"
#include "core/towers/item_inputs.h"
#include "core/towers/linear.h"
#include "kernels/kernels.h"

namespace tandem {

/// The elements of a typed array, borrowed for the duration of the call.
///
/// A value of another type throws a TypeError: "Expected Float32Array for states, received Array."
ArrayView<float> Float32Argument(const Napi::Value& value, const char* name);
ArrayView<std::int32_t> Int32Argument(const Napi::Value& value, const char* name);
ArrayView<std::uint32_t> Uint32Argument(const Napi::Value& value, const char* name);
ArrayView<std::uint8_t> Uint8Argument(const Napi::Value& value, const char* name);

/// An integer in [least, most]. Another type throws a TypeError, another value a RangeError.
std::size_t SizeArgument(const Napi::Value& value, const char* name, std::size_t least,
                         std::size_t most);
double NumberArgument(const Napi::Value& value, const char* name);
bool BooleanArgument(const Napi::Value& value, const char* name);
Napi::Object ObjectArgument(const Napi::Value& value, const char* name);
std::string StringArgument(const Napi::Value& value, const char* name);

/// Throws a RangeError unless received == expected.
void ExpectLength(Napi::Env env, const char* name, std::size_t expected, std::size_t received);

/// The Float32Array `object[name]`.
ArrayView<float> FloatField(const Napi::Object& object, const char* name);
/// The Int32Array `object[name]`.
ArrayView<std::int32_t> Int32Field(const Napi::Object& object, const char* name);
/// The integer `object[name]`, a width: 1 to kMaxDimensions.
std::size_t WidthField(const Napi::Object& object, const char* name);
/// The fields of an ItemInputWeights.
ItemInputViews ItemInputFields(const Napi::Object& weights);

/// An optional "f32" or "bf16"; f32 when it is left out.
Precision PrecisionArgument(const Napi::Value& value);

/// The kernel table that an optional isa argument names; the default table when it is left out.
const KernelTable& KernelsArgument(const Napi::Value& value);
/// The default kernel table.
const KernelTable& DefaultKernelTable(Napi::Env env);

/// The number of rows in an array of `length` elements, `dimensions` to a row. A RangeError when
/// `length` is not a multiple.
std::size_t RowsArgument(Napi::Env env, const char* name, std::size_t length,
                         std::size_t dimensions);

/// Throws a TypeError unless the Float32Array that an index borrows still has `length` elements at
/// `data`. After its ArrayBuffer was transferred to another thread, its memory does not belong to
/// it any more.
void ExpectInPlace(const Napi::Value& vectors, const float* data, std::size_t length);

/// A bitset of `size` bits; null or undefined allows every item.
BitsetView AllowArgument(const Napi::Value& value, std::size_t size);

/// The arrays of a SearchOutput: rows [count, k], scores [count, k] and counts [count].
SearchOutput SearchOutputArgument(const Napi::Value& value, std::size_t count, std::size_t k);

/// The error object of a failed Status: a RangeError, or an Error with `code`.
Napi::Error ErrorOf(Napi::Env env, const Status& status);
/// Throws the error of a failed Status.
void ThrowUnlessOk(Napi::Env env, const Status& status);

/// a * b. A RangeError when the product is too large: lengths come from JavaScript and may be huge.
std::size_t CheckedProduct(Napi::Env env, std::size_t a, std::size_t b);

constexpr std::size_t kMaxDimensions = 1 << 16;
constexpr std::size_t kMaxCount = 0x7fffffff;

}  // namespace tandem
