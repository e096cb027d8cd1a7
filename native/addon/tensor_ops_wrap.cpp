// The `ops` namespace. Every length is checked here, so that the core may trust its pointers.

#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/training/tensor_ops.h"

namespace tandem {
namespace {

/// The enumerator whose position is that of a name in a list. A RangeError lists the names.
template <class Op, std::size_t N>
Op OpArgument(const Napi::Value& value, const char* const (&names)[N]) {
  const std::string name = StringArgument(value, "op");
  std::string known;
  for (std::size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<Op>(i);
    known += (i > 0 ? ", " : "") + std::string(names[i]);
  }
  throw Napi::RangeError::New(value.Env(),
                              "Expected one of " + known + " for op, received \"" + name + "\".");
}

constexpr const char* kUnaryNames[] = {"relu", "step",  "exp",    "log",
                                       "sqrt", "rsqrt", "square", "neg"};
constexpr const char* kBinaryNames[] = {"add", "sub", "mul", "div", "max"};
constexpr const char* kReduceNames[] = {"sum", "max"};

/// Throws a RangeError unless `received` covers `expected` elements.
void ExpectAtLeast(Napi::Env env, const char* name, std::size_t expected, std::size_t received) {
  if (received >= expected) return;
  throw Napi::RangeError::New(env, "Expected at least " + std::to_string(expected) +
                                       " elements for " + name + ", received " +
                                       std::to_string(received) + ".");
}

Napi::Value MatmulOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> a = Float32Argument(info[0], "a");
  const ArrayView<float> c = Float32Argument(info[1], "c");
  const ArrayView<float> out = Float32Argument(info[2], "out");
  MatmulArguments x = {};
  x.batch = SizeArgument(info[3], "batch", 0, kMaxCount);
  x.m = SizeArgument(info[4], "m", 0, kMaxCount);
  x.n = SizeArgument(info[5], "n", 0, kMaxCount);
  x.k = SizeArgument(info[6], "k", 0, kMaxCount);
  x.transpose_a = BooleanArgument(info[7], "transposeA");
  x.transpose_b = BooleanArgument(info[8], "transposeB");
  x.a_batch_stride = SizeArgument(info[9], "aBatchStride", 0, kMaxCount);
  x.b_batch_stride = SizeArgument(info[10], "bBatchStride", 0, kMaxCount);
  x.relu = BooleanArgument(info[12], "relu");
  ArrayView<float> bias;
  if (!info[11].IsNull() && !info[11].IsUndefined()) {
    bias = Float32Argument(info[11], "bias");
    ExpectLength(env, "bias", x.n, bias.size);
  }
  ExpectLength(env, "out", CheckedProduct(env, x.batch, CheckedProduct(env, x.m, x.n)), out.size);
  if (x.batch > 0) {
    ExpectAtLeast(
        env, "a",
        CheckedProduct(env, x.batch - 1, x.a_batch_stride) + CheckedProduct(env, x.m, x.k), a.size);
    ExpectAtLeast(
        env, "c",
        CheckedProduct(env, x.batch - 1, x.b_batch_stride) + CheckedProduct(env, x.k, x.n), c.size);
  }
  x.a = a.data;
  x.b = c.data;
  x.out = out.data;
  x.bias = bias.data;
  ThrowUnlessOk(env, Matmul(DefaultKernelTable(env), x));
  return env.Undefined();
}

/// Reads the strides of one operand, and checks that the largest offset stays inside its array.
void ReadStrides(Napi::Env env, const ArrayView<std::int32_t>& strides, const char* name,
                 const BroadcastShape& shape, std::size_t elements,
                 std::array<std::size_t, kMaxRank>* out) {
  ExpectLength(env, name, shape.rank, strides.size);
  std::size_t largest = 0;
  bool empty = false;
  for (std::size_t i = 0; i < shape.rank; ++i) {
    if (strides.data[i] < 0) {
      throw Napi::RangeError::New(env, std::string("Expected strides >= 0 for ") + name +
                                           ", received " + std::to_string(strides.data[i]) + ".");
    }
    (*out)[i] = static_cast<std::size_t>(strides.data[i]);
    if (shape.sizes[i] == 0) {
      empty = true;
    } else {
      largest += CheckedProduct(env, shape.sizes[i] - 1, (*out)[i]);
    }
  }
  if (!empty) ExpectAtLeast(env, name, largest + 1, elements);
}

Napi::Value BinaryOperation(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const BinaryOp op = OpArgument<BinaryOp>(info[0], kBinaryNames);
  const ArrayView<float> a = Float32Argument(info[1], "a");
  const ArrayView<std::int32_t> a_strides = Int32Argument(info[2], "aStrides");
  const ArrayView<float> b = Float32Argument(info[3], "b");
  const ArrayView<std::int32_t> b_strides = Int32Argument(info[4], "bStrides");
  const ArrayView<float> out = Float32Argument(info[5], "out");
  const ArrayView<std::int32_t> sizes = Int32Argument(info[6], "shape");
  if (sizes.size > kMaxRank) {
    throw Napi::RangeError::New(env, "Expected at most 6 dimensions for shape, received " +
                                         std::to_string(sizes.size) + ".");
  }
  BroadcastShape shape;
  shape.rank = sizes.size;
  std::size_t total = 1;
  for (std::size_t i = 0; i < shape.rank; ++i) {
    if (sizes.data[i] < 0) {
      throw Napi::RangeError::New(
          env, "Expected sizes >= 0 for shape, received " + std::to_string(sizes.data[i]) + ".");
    }
    shape.sizes[i] = static_cast<std::size_t>(sizes.data[i]);
    total = CheckedProduct(env, total, shape.sizes[i]);
  }
  ReadStrides(env, a_strides, "aStrides", shape, a.size, &shape.a_strides);
  ReadStrides(env, b_strides, "bStrides", shape, b.size, &shape.b_strides);
  ExpectLength(env, "out", total, out.size);
  if (total > 0) BroadcastBinary(DefaultKernelTable(env), op, a.data, b.data, shape, out.data);
  return env.Undefined();
}

Napi::Value UnaryOperation(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const UnaryOp op = OpArgument<UnaryOp>(info[0], kUnaryNames);
  const ArrayView<float> a = Float32Argument(info[1], "a");
  const ArrayView<float> out = Float32Argument(info[2], "out");
  ExpectLength(env, "out", a.size, out.size);
  ElementwiseUnary(DefaultKernelTable(env), op, a.data, a.size, out.data);
  return env.Undefined();
}

Napi::Value ReduceOperation(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ReduceOp op = OpArgument<ReduceOp>(info[0], kReduceNames);
  const ArrayView<float> a = Float32Argument(info[1], "a");
  const ArrayView<float> out = Float32Argument(info[2], "out");
  const std::size_t outer = SizeArgument(info[3], "outer", 0, kMaxCount);
  const std::size_t axis = SizeArgument(info[4], "axis", 0, kMaxCount);
  const std::size_t inner = SizeArgument(info[5], "inner", 0, kMaxCount);
  const std::size_t results = CheckedProduct(env, outer, inner);
  ExpectLength(env, "a", CheckedProduct(env, results, axis), a.size);
  ExpectLength(env, "out", results, out.size);
  if (results > 0) Reduce(DefaultKernelTable(env), op, a.data, outer, axis, inner, out.data);
  return env.Undefined();
}

Napi::Value SoftmaxOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> a = Float32Argument(info[0], "a");
  const ArrayView<float> out = Float32Argument(info[1], "out");
  const std::size_t rows = SizeArgument(info[2], "rows", 0, kMaxCount);
  const std::size_t columns = SizeArgument(info[3], "columns", 0, kMaxCount);
  const std::size_t total = CheckedProduct(env, rows, columns);
  ExpectLength(env, "a", total, a.size);
  ExpectLength(env, "out", total, out.size);
  if (total > 0) Softmax(DefaultKernelTable(env), a.data, rows, columns, out.data);
  return env.Undefined();
}

Napi::Value TransposeOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> a = Float32Argument(info[0], "a");
  const ArrayView<float> out = Float32Argument(info[1], "out");
  const ArrayView<std::int32_t> shape = Int32Argument(info[2], "shape");
  const ArrayView<std::int32_t> permutation = Int32Argument(info[3], "permutation");
  if (shape.size > kMaxRank) {
    throw Napi::RangeError::New(env, "Expected at most 6 dimensions for shape, received " +
                                         std::to_string(shape.size) + ".");
  }
  ExpectLength(env, "permutation", shape.size, permutation.size);
  std::array<std::size_t, kMaxRank> sizes{};
  std::array<std::size_t, kMaxRank> axes{};
  std::size_t total = 1;
  unsigned seen = 0;
  for (std::size_t i = 0; i < shape.size; ++i) {
    const std::int32_t axis = permutation.data[i];
    if (shape.data[i] < 0 || axis < 0 || static_cast<std::size_t>(axis) >= shape.size ||
        ((seen >> axis) & 1u) != 0) {
      throw Napi::RangeError::New(env, "Expected sizes >= 0 for shape and each of 0 to " +
                                           std::to_string(shape.size - 1) +
                                           " once for permutation.");
    }
    seen |= 1u << axis;
    sizes[i] = static_cast<std::size_t>(shape.data[i]);
    axes[i] = static_cast<std::size_t>(axis);
    total = CheckedProduct(env, total, sizes[i]);
  }
  ExpectLength(env, "a", total, a.size);
  ExpectLength(env, "out", total, out.size);
  if (total > 0) {
    TransposeTensor(DefaultKernelTable(env), a.data, shape.size, sizes.data(), axes.data(),
                    out.data);
  }
  return env.Undefined();
}

/// Where the runs of one side of CopyRows lie: the offset of the first one and the stride between
/// them.
struct RunPlaces {
  std::size_t offset;
  std::size_t stride;
};

RunPlaces RunPlacesArgument(const Napi::CallbackInfo& info, std::size_t first, const char* name,
                            std::size_t size, std::size_t rows, std::size_t run) {
  const Napi::Env env = info.Env();
  const RunPlaces places = {SizeArgument(info[first], "offset", 0, kMaxCount),
                            SizeArgument(info[first + 1], "stride", run, kMaxCount)};
  const std::size_t end = places.offset + CheckedProduct(env, rows - 1, places.stride) + run;
  if (end > size) {
    throw Napi::RangeError::New(env, std::string("Expected the runs inside ") + name +
                                         " of length " + std::to_string(size) +
                                         ", received an end at " + std::to_string(end) + ".");
  }
  return places;
}

Napi::Value CopyRowsOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> from = Float32Argument(info[0], "from");
  const ArrayView<float> to = Float32Argument(info[3], "to");
  const std::size_t rows = SizeArgument(info[6], "rows", 0, kMaxCount);
  const std::size_t run = SizeArgument(info[7], "run", 1, kMaxCount);
  if (rows == 0) return env.Undefined();
  const RunPlaces source = RunPlacesArgument(info, 1, "from", from.size, rows, run);
  const RunPlaces target = RunPlacesArgument(info, 4, "to", to.size, rows, run);
  CopyRows(from.data + source.offset, source.stride, rows, run, to.data + target.offset,
           target.stride);
  return env.Undefined();
}

Napi::Value GatherRowsOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> table = Float32Argument(info[0], "table");
  const ArrayView<std::int32_t> indices = Int32Argument(info[1], "indices");
  const ArrayView<float> out = Float32Argument(info[2], "out");
  const std::size_t width = SizeArgument(info[3], "rowWidth", 1, kMaxCount);
  ExpectLength(env, "out", CheckedProduct(env, indices.size, width), out.size);
  ThrowUnlessOk(
      env, GatherRows(table.data, table.size / width, indices.data, indices.size, width, out.data));
  return env.Undefined();
}

Napi::Value ScatterAddRowsOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> source = Float32Argument(info[0], "source");
  const ArrayView<std::int32_t> indices = Int32Argument(info[1], "indices");
  const ArrayView<float> out = Float32Argument(info[2], "out");
  const std::size_t width = SizeArgument(info[3], "rowWidth", 1, kMaxCount);
  ExpectLength(env, "source", CheckedProduct(env, indices.size, width), source.size);
  if (out.size % width != 0) {
    throw Napi::RangeError::New(env, "Expected a multiple of " + std::to_string(width) +
                                         " (rowWidth) as length of out, received " +
                                         std::to_string(out.size) + ".");
  }
  ThrowUnlessOk(env, ScatterAddRows(DefaultKernelTable(env), source.data, indices.data,
                                    indices.size, width, out.size / width, out.data));
  return env.Undefined();
}

/// Reads learningRate, beta1, beta2, epsilon and step from argument `first` on.
AdamStep AdamArguments(const Napi::CallbackInfo& info, std::size_t first) {
  const double rate = NumberArgument(info[first], "learningRate");
  const double beta1 = NumberArgument(info[first + 1], "beta1");
  const double beta2 = NumberArgument(info[first + 2], "beta2");
  const double epsilon = NumberArgument(info[first + 3], "epsilon");
  const std::size_t step = SizeArgument(info[first + 4], "step", 1, kMaxCount);
  if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1) || !std::isfinite(rate) ||
      !std::isfinite(epsilon)) {
    throw Napi::RangeError::New(
        info.Env(), "Expected beta1 and beta2 in [0, 1) and finite learningRate and epsilon.");
  }
  AdamStep constants = {};
  constants.beta1 = static_cast<float>(beta1);
  constants.beta2 = static_cast<float>(beta2);
  const double t = static_cast<double>(step);
  constants.first_correction = static_cast<float>(1.0 / (1.0 - std::pow(beta1, t)));
  constants.second_correction = static_cast<float>(1.0 / (1.0 - std::pow(beta2, t)));
  constants.learning_rate = static_cast<float>(rate);
  constants.epsilon = static_cast<float>(epsilon);
  return constants;
}

Napi::Value AdamOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> parameter = Float32Argument(info[0], "parameter");
  const ArrayView<float> gradient = Float32Argument(info[1], "gradient");
  const ArrayView<float> m = Float32Argument(info[2], "m");
  const ArrayView<float> v = Float32Argument(info[3], "v");
  const AdamStep step = AdamArguments(info, 4);
  ExpectLength(env, "gradient", parameter.size, gradient.size);
  ExpectLength(env, "m", parameter.size, m.size);
  ExpectLength(env, "v", parameter.size, v.size);
  AdamUpdate(DefaultKernelTable(env), step, gradient.data, parameter.size, parameter.data, m.data,
             v.data);
  return env.Undefined();
}

Napi::Value AdamRowsOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> parameter = Float32Argument(info[0], "parameter");
  const ArrayView<float> gradient = Float32Argument(info[1], "gradient");
  const ArrayView<std::int32_t> rows = Int32Argument(info[2], "rows");
  const std::size_t width = SizeArgument(info[3], "rowWidth", 1, kMaxCount);
  const ArrayView<float> m = Float32Argument(info[4], "m");
  const ArrayView<float> v = Float32Argument(info[5], "v");
  const AdamStep step = AdamArguments(info, 6);
  ExpectLength(env, "gradient", CheckedProduct(env, rows.size, width), gradient.size);
  ExpectLength(env, "m", parameter.size, m.size);
  ExpectLength(env, "v", parameter.size, v.size);
  ThrowUnlessOk(
      env, AdamUpdateRows(DefaultKernelTable(env), step, gradient.data, rows.data, rows.size, width,
                          RowsArgument(env, "parameter", parameter.size, width), parameter.data,
                          m.data, v.data));
  return env.Undefined();
}

}  // namespace

Napi::Object DefineTensorOps(Napi::Env env) {
  Napi::Object ops = Napi::Object::New(env);
  ops.Set("matmul", Napi::Function::New<MatmulOp>(env, "matmul"));
  ops.Set("binary", Napi::Function::New<BinaryOperation>(env, "binary"));
  ops.Set("unary", Napi::Function::New<UnaryOperation>(env, "unary"));
  ops.Set("reduce", Napi::Function::New<ReduceOperation>(env, "reduce"));
  ops.Set("softmax", Napi::Function::New<SoftmaxOp>(env, "softmax"));
  ops.Set("transpose", Napi::Function::New<TransposeOp>(env, "transpose"));
  ops.Set("copyRows", Napi::Function::New<CopyRowsOp>(env, "copyRows"));
  ops.Set("gatherRows", Napi::Function::New<GatherRowsOp>(env, "gatherRows"));
  ops.Set("scatterAddRows", Napi::Function::New<ScatterAddRowsOp>(env, "scatterAddRows"));
  ops.Set("adam", Napi::Function::New<AdamOp>(env, "adam"));
  ops.Set("adamRows", Napi::Function::New<AdamRowsOp>(env, "adamRows"));
  return ops;
}

}  // namespace tandem
