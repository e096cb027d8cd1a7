// The `training` namespace: fused operations of a training step. Every length and index is checked
// here, so that the core may trust its pointers.

#include <cmath>
#include <string>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/runtime/view_checks.h"
#include "core/training/training_ops.h"

namespace tandem {
namespace {

/// The number of rows of `n` elements in `array`.
std::size_t RowsOf(Napi::Env env, const char* name, const ArrayView<float>& array, std::size_t n) {
  return RowsArgument(env, name, array.size, n);
}

float EpsilonArgument(const Napi::Value& value) {
  const double epsilon = NumberArgument(value, "epsilon");
  if (!(epsilon > 0) || !std::isfinite(epsilon)) {
    throw Napi::RangeError::New(
        value.Env(), "Expected a positive epsilon, received " + std::to_string(epsilon) + ".");
  }
  return static_cast<float>(epsilon);
}

Napi::Value LayerNormOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> x = Float32Argument(info[0], "x");
  const ArrayView<float> scale = Float32Argument(info[1], "scale");
  const ArrayView<float> offset = Float32Argument(info[2], "offset");
  const float epsilon = EpsilonArgument(info[3]);
  const ArrayView<float> out = Float32Argument(info[4], "out");
  const std::size_t rows = RowsOf(env, "x", x, scale.size);
  ExpectLength(env, "offset", scale.size, offset.size);
  ExpectLength(env, "out", x.size, out.size);
  LayerNorm(DefaultKernelTable(env), x.data, rows, scale.size, scale.data, offset.data, epsilon,
            out.data);
  return env.Undefined();
}

Napi::Value LayerNormBackwardOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> x = Float32Argument(info[0], "x");
  const ArrayView<float> scale = Float32Argument(info[1], "scale");
  const ArrayView<float> dy = Float32Argument(info[2], "dy");
  const float epsilon = EpsilonArgument(info[3]);
  const ArrayView<float> dx = Float32Argument(info[4], "dx");
  const ArrayView<float> dscale = Float32Argument(info[5], "dscale");
  const ArrayView<float> doffset = Float32Argument(info[6], "doffset");
  const std::size_t rows = RowsOf(env, "x", x, scale.size);
  ExpectLength(env, "dy", x.size, dy.size);
  ExpectLength(env, "dx", x.size, dx.size);
  ExpectLength(env, "dscale", scale.size, dscale.size);
  ExpectLength(env, "doffset", scale.size, doffset.size);
  ThrowUnlessOk(env, LayerNormBackward(DefaultKernelTable(env), x.data, dy.data, rows, scale.size,
                                       scale.data, epsilon, dx.data, dscale.data, doffset.data));
  return env.Undefined();
}

Napi::Value DropoutOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> x = Float32Argument(info[0], "x");
  const std::size_t seed = SizeArgument(info[1], "seed", 0, 0xffffffff);
  const double rate = NumberArgument(info[2], "rate");
  const ArrayView<float> out = Float32Argument(info[3], "out");
  ExpectLength(env, "out", x.size, out.size);
  if (!(rate >= 0 && rate < 1)) {
    throw Napi::RangeError::New(
        env, "Expected a rate in [0, 1), received " + std::to_string(rate) + ".");
  }
  const double threshold = std::floor(rate * 0x1.0p32);
  Dropout(DefaultKernelTable(env), static_cast<std::uint32_t>(seed),
          static_cast<std::uint32_t>(threshold), static_cast<float>(1 / (1 - rate)), x.data, x.size,
          out.data);
  return env.Undefined();
}

Napi::Value ReluBackwardOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> y = Float32Argument(info[0], "y");
  const ArrayView<float> dy = Float32Argument(info[1], "dy");
  const ArrayView<float> out = Float32Argument(info[2], "out");
  ExpectLength(env, "dy", y.size, dy.size);
  ExpectLength(env, "out", y.size, out.size);
  ReluBackward(y.data, dy.data, y.size, out.data);
  return env.Undefined();
}

/// Reads offsets [B + 1], width and heads, which follow the arrays of both attention calls. `size`
/// is the length of one array.
AttentionShape AttentionArguments(const Napi::CallbackInfo& info, std::size_t first,
                                  std::size_t size) {
  const Napi::Env env = info.Env();
  const ArrayView<std::int32_t> offsets = Int32Argument(info[first], "offsets");
  if (offsets.size == 0) {
    throw Napi::RangeError::New(env, "Expected length B + 1 for offsets, received length 0.");
  }
  AttentionShape shape = {};
  shape.batch = offsets.size - 1;
  shape.offsets = offsets.data;
  shape.width = SizeArgument(info[first + 1], "width", 1, kMaxDimensions);
  shape.heads = SizeArgument(info[first + 2], "heads", 1, shape.width);
  if (shape.width % shape.heads != 0) {
    throw Napi::RangeError::New(env, "Expected heads to divide the width " +
                                         std::to_string(shape.width) + ", received " +
                                         std::to_string(shape.heads) + ".");
  }
  const std::size_t rows = RowsArgument(env, "queries", size, shape.width);
  ThrowUnlessOk(env, CheckOffsets("offsets", offsets, shape.batch, "[B + 1]"));
  ExpectLength(env, "queries", static_cast<std::size_t>(offsets.data[shape.batch]) * shape.width,
               rows * shape.width);
  return shape;
}

Napi::Value CausalAttentionOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> q = Float32Argument(info[0], "queries");
  const ArrayView<float> k = Float32Argument(info[1], "keys");
  const ArrayView<float> v = Float32Argument(info[2], "values");
  const AttentionShape shape = AttentionArguments(info, 3, q.size);
  const ArrayView<float> out = Float32Argument(info[6], "out");
  ExpectLength(env, "keys", q.size, k.size);
  ExpectLength(env, "values", q.size, v.size);
  ExpectLength(env, "out", q.size, out.size);
  ThrowUnlessOk(env,
                CausalAttention(DefaultKernelTable(env), shape, q.data, k.data, v.data, out.data));
  return env.Undefined();
}

Napi::Value CausalAttentionBackwardOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> q = Float32Argument(info[0], "queries");
  const ArrayView<float> k = Float32Argument(info[1], "keys");
  const ArrayView<float> v = Float32Argument(info[2], "values");
  const ArrayView<float> dy = Float32Argument(info[3], "dy");
  const AttentionShape shape = AttentionArguments(info, 4, q.size);
  const ArrayView<float> dq = Float32Argument(info[7], "dQueries");
  const ArrayView<float> dk = Float32Argument(info[8], "dKeys");
  const ArrayView<float> dv = Float32Argument(info[9], "dValues");
  ExpectLength(env, "keys", q.size, k.size);
  ExpectLength(env, "values", q.size, v.size);
  ExpectLength(env, "dy", q.size, dy.size);
  ExpectLength(env, "dQueries", q.size, dq.size);
  ExpectLength(env, "dKeys", q.size, dk.size);
  ExpectLength(env, "dValues", q.size, dv.size);
  ThrowUnlessOk(env, CausalAttentionBackward(DefaultKernelTable(env), shape, q.data, k.data, v.data,
                                             dy.data, dq.data, dk.data, dv.data));
  return env.Undefined();
}

/// Reads the rows and columns of pairs from argument `first` and the one after it.
ScorePairs PairArguments(const Napi::CallbackInfo& info, std::size_t first, const char* what,
                         const ScoreShape& shape) {
  const Napi::Env env = info.Env();
  const ArrayView<std::int32_t> rows = Int32Argument(info[first], "rows of pairs");
  const ArrayView<std::int32_t> columns = Int32Argument(info[first + 1], "columns of pairs");
  ExpectLength(env, "columns of pairs", rows.size, columns.size);
  std::int32_t least = 0;
  for (std::size_t i = 0; i < rows.size; ++i) {
    if (rows.data[i] < least || static_cast<std::size_t>(rows.data[i]) >= shape.queries ||
        columns.data[i] < 0 || static_cast<std::size_t>(columns.data[i]) >= shape.candidates) {
      throw Napi::RangeError::New(
          env, std::string("Expected ") + what + " pairs inside [" + std::to_string(shape.queries) +
                   ", " + std::to_string(shape.candidates) + "] with ascending rows, received (" +
                   std::to_string(rows.data[i]) + ", " + std::to_string(columns.data[i]) + ") at " +
                   std::to_string(i) + ".");
    }
    least = rows.data[i];
  }
  return {rows.data, columns.data, rows.size};
}

/// Reads the arguments with which both calls of the log-sum-exp begin: queries, candidates, width,
/// bias, masked and boosted pairs, and boosts.
ScoreShape ScoreArguments(const Napi::CallbackInfo& info, const ArrayView<float>& queries,
                          const ArrayView<float>& candidates) {
  const Napi::Env env = info.Env();
  ScoreShape shape = {};
  shape.width = SizeArgument(info[2], "width", 1, kMaxDimensions);
  shape.queries = RowsArgument(env, "queries", queries.size, shape.width);
  shape.candidates = RowsArgument(env, "candidates", candidates.size, shape.width);
  if (shape.candidates == 0) {
    throw Napi::RangeError::New(env, "Expected at least one row of candidates, received none.");
  }
  if (!info[3].IsNull()) {
    const ArrayView<float> bias = Float32Argument(info[3], "bias");
    ExpectLength(env, "bias", shape.candidates, bias.size);
    shape.bias = bias.data;
  }
  shape.masked = PairArguments(info, 4, "masked", shape);
  shape.boosted = PairArguments(info, 6, "boosted", shape);
  const ArrayView<float> boosts = Float32Argument(info[8], "boosts");
  ExpectLength(env, "boosts", shape.boosted.count, boosts.size);
  shape.boosts = boosts.data;
  return shape;
}

Napi::Value LogSumExpScoresOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> queries = Float32Argument(info[0], "queries");
  const ArrayView<float> candidates = Float32Argument(info[1], "candidates");
  const ScoreShape shape = ScoreArguments(info, queries, candidates);
  const ArrayView<float> out = Float32Argument(info[9], "out");
  ExpectLength(env, "out", shape.queries, out.size);
  ThrowUnlessOk(env, LogSumExpScores(DefaultKernelTable(env), shape, queries.data, candidates.data,
                                     out.data));
  return env.Undefined();
}

Napi::Value LogSumExpScoresBackwardOp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ArrayView<float> queries = Float32Argument(info[0], "queries");
  const ArrayView<float> candidates = Float32Argument(info[1], "candidates");
  const ScoreShape shape = ScoreArguments(info, queries, candidates);
  const ArrayView<float> log_sums = Float32Argument(info[9], "logSums");
  const ArrayView<float> dy = Float32Argument(info[10], "dy");
  const ArrayView<float> dqueries = Float32Argument(info[11], "dQueries");
  const ArrayView<float> dboosts = Float32Argument(info[12], "dBoosts");
  ExpectLength(env, "dBoosts", shape.boosted.count, dboosts.size);
  ExpectLength(env, "logSums", shape.queries, log_sums.size);
  ExpectLength(env, "dy", shape.queries, dy.size);
  ExpectLength(env, "dQueries", queries.size, dqueries.size);
  ArrayView<float> dcandidates = {};
  if (!info[13].IsNull()) {
    dcandidates = Float32Argument(info[13], "dCandidates");
    ExpectLength(env, "dCandidates", candidates.size, dcandidates.size);
  }
  ThrowUnlessOk(env, LogSumExpScoresBackward(DefaultKernelTable(env), shape, queries.data,
                                             candidates.data, log_sums.data, dy.data, dqueries.data,
                                             dboosts.data, dcandidates.data));
  return env.Undefined();
}

}  // namespace

Napi::Object DefineTrainingOps(Napi::Env env) {
  Napi::Object ops = Napi::Object::New(env);
  const auto define = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    ops.Set(name, Napi::Function::New(env, call, name));
  };
  define("layerNorm", LayerNormOp);
  define("layerNormBackward", LayerNormBackwardOp);
  define("dropout", DropoutOp);
  define("reluBackward", ReluBackwardOp);
  define("causalAttention", CausalAttentionOp);
  define("causalAttentionBackward", CausalAttentionBackwardOp);
  define("logSumExpScores", LogSumExpScoresOp);
  define("logSumExpScoresBackward", LogSumExpScoresBackwardOp);
  return ops;
}

}  // namespace tandem
