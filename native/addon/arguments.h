// Checked access to JavaScript arguments, and the way from a core Status to the JavaScript error.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/indexes/bitset.h"
#include "core/indexes/exact_index.h"
#include "core/runtime/status.h"
#include "core/towers/item_inputs.h"
#include "core/towers/linear.h"
#include "kernels/kernels.h"

namespace tandem {

/// Elements of a typed array, borrowed for the duration of the call.
template <class T>
struct ArrayView {
  T* data = nullptr;
  std::size_t size = 0;
};

/// TypeError "Expected Float32Array for states, received Array." unless `value` is the typed array named.
ArrayView<float> Float32Argument(const Napi::Value& value, const char* name);
ArrayView<std::int32_t> Int32Argument(const Napi::Value& value, const char* name);
ArrayView<std::uint32_t> Uint32Argument(const Napi::Value& value, const char* name);
ArrayView<std::uint8_t> Uint8Argument(const Napi::Value& value, const char* name);

/// An integer in [least, most]; TypeError for another type, RangeError for another value.
std::size_t SizeArgument(const Napi::Value& value, const char* name, std::size_t least,
                         std::size_t most);
double NumberArgument(const Napi::Value& value, const char* name);
bool BooleanArgument(const Napi::Value& value, const char* name);
Napi::Object ObjectArgument(const Napi::Value& value, const char* name);
std::string StringArgument(const Napi::Value& value, const char* name);

/// RangeError unless received == expected.
void ExpectLength(Napi::Env env, const char* name, std::size_t expected, std::size_t received);

/// The Float32Array `object[name]`.
FloatView FloatField(const Napi::Object& object, const char* name);
/// The Int32Array `object[name]`.
Int32View Int32Field(const Napi::Object& object, const char* name);
/// The fields of an ItemInputWeights.
ItemInputViews ItemInputFields(const Napi::Object& weights);

/// An optional "f32" or "bf16", f32 when left out.
Precision PrecisionArgument(const Napi::Value& value);

/// The table named by an optional isa argument, else the default one.
const KernelTable& KernelsArgument(const Napi::Value& value);

/// Rows of `length` elements in rows of `dimensions`; RangeError when it is no multiple.
std::size_t RowsArgument(Napi::Env env, const char* name, std::size_t length,
                         std::size_t dimensions);

/// TypeError unless the Float32Array that an index borrows still is `length` elements at `data`: its memory is gone once
/// its ArrayBuffer was transferred to another thread.
void ExpectInPlace(const Napi::Value& vectors, const float* data, std::size_t length);

/// Bitset of `size` bits, or null for every item.
BitsetView AllowArgument(const Napi::Value& value, std::size_t size);

/// SearchOutput { slots [count, k], scores [count, k], counts [count] }.
SearchRows SearchOutputArgument(const Napi::Value& value, std::size_t count, std::size_t k);

/// The error object of a failed Status: RangeError, or Error with `code`.
Napi::Error ErrorOf(Napi::Env env, const Status& status);
/// Throws it unless ok.
void ThrowUnlessOk(Napi::Env env, const Status& status);

/// a * b, RangeError when it does not fit: lengths come from JavaScript and may be huge.
std::size_t CheckedProduct(Napi::Env env, std::size_t a, std::size_t b);

constexpr std::size_t kMaxDimensions = 1 << 16;
constexpr std::size_t kMaxCount = 0x7fffffff;

}  // namespace tandem
