// The JavaScript class Encoder. Weights are read once; after that, each batch of histories is one
// call into C++.

#include <memory>
#include <string>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/towers/encoder.h"

namespace tandem {
namespace {

EncoderBlockViews BlockArgument(const Napi::Object& block) {
  EncoderBlockViews views;
  views.attention_norm_scale = FloatField(block, "attentionNormScale");
  views.attention_norm_offset = FloatField(block, "attentionNormOffset");
  views.query_weight = FloatField(block, "queryWeight");
  views.query_bias = FloatField(block, "queryBias");
  views.key_weight = FloatField(block, "keyWeight");
  views.key_bias = FloatField(block, "keyBias");
  views.value_weight = FloatField(block, "valueWeight");
  views.value_bias = FloatField(block, "valueBias");
  views.attention_output_weight = FloatField(block, "attentionOutputWeight");
  views.attention_output_bias = FloatField(block, "attentionOutputBias");
  views.feed_forward_norm_scale = FloatField(block, "feedForwardNormScale");
  views.feed_forward_norm_offset = FloatField(block, "feedForwardNormOffset");
  views.feed_forward_weight = FloatField(block, "feedForwardWeight");
  views.feed_forward_bias = FloatField(block, "feedForwardBias");
  views.feed_forward_output_weight = FloatField(block, "feedForwardOutputWeight");
  views.feed_forward_output_bias = FloatField(block, "feedForwardOutputBias");
  return views;
}

StateRows StateRowsArgument(const Napi::Value& value) {
  if (value.IsUndefined()) return StateRows::kNewest;
  const std::string name = StringArgument(value, "stateRows");
  if (name == "newest") return StateRows::kNewest;
  if (name == "all") return StateRows::kAll;
  throw Napi::RangeError::New(
      value.Env(), "Expected \"newest\" or \"all\" for stateRows, received \"" + name + "\".");
}

class EncoderWrap : public Napi::ObjectWrap<EncoderWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Encoder",
                       {InstanceMethod<&EncoderWrap::Encode>("encode"),
                        InstanceAccessor<&EncoderWrap::PrecisionName>("precision"),
                        InstanceAccessor<&EncoderWrap::Isa>("isa")});
  }

  explicit EncoderWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EncoderWrap>(info) {
    const Napi::Env env = info.Env();
    const Napi::Object weights = ObjectArgument(info[0], "weights");
    const Precision precision = PrecisionArgument(info[2]);
    const StateRows rows = StateRowsArgument(info[3]);
    const KernelTable& kernels = KernelsArgument(info[1]);
    EncoderWeightViews views;
    views.embedding_width = WidthField(weights, "embeddingWidth");
    views.heads = WidthField(weights, "heads");
    views.feed_forward_width = WidthField(weights, "feedForwardWidth");
    views.max_history = WidthField(weights, "maxHistory");
    views.action_width = WidthField(weights, "actionWidth");
    views.items = ItemInputFields(weights);
    views.action_table = FloatField(weights, "actionTable");
    views.gap_table = FloatField(weights, "gapTable");
    views.position_table = FloatField(weights, "positionTable");
    views.input_weight = FloatField(weights, "inputWeight");
    views.input_bias = FloatField(weights, "inputBias");
    const Napi::Value blocks = weights.Get("blocks");
    if (!blocks.IsArray()) throw Napi::TypeError::New(env, "Expected Array for blocks.");
    const Napi::Array list = blocks.As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
      views.blocks.push_back(BlockArgument(ObjectArgument(list.Get(i), "blocks")));
    }
    views.norm_scale = FloatField(weights, "normScale");
    views.norm_offset = FloatField(weights, "normOffset");
    views.has_mean = weights.Has("meanWeight");
    if (views.has_mean) views.mean_weight = FloatField(weights, "meanWeight");
    ThrowUnlessOk(
        env, Encoder::Create(views, precision, rows, kernels, ThreadPool::Shared(), &encoder_));
  }

 private:
  Napi::Value Encode(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Napi::Object batch = ObjectArgument(info[0], "batch");
    HistoryViews views;
    views.offsets = Int32Field(batch, "offsets");
    if (views.offsets.size == 0) {
      throw Napi::RangeError::New(env, "Expected length B + 1 for offsets, received length 0.");
    }
    views.count = views.offsets.size - 1;
    views.items = Int32Field(batch, "items");
    views.actions = Int32Field(batch, "actions");
    views.gaps = Int32Field(batch, "gaps");
    const ArrayView<float> out = Float32Argument(info[1], "out");
    ThrowUnlessOk(env, encoder_->Encode(views, ThreadPool::Shared(), out.data, out.size));
    return env.Undefined();
  }

  Napi::Value PrecisionName(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(),
                             encoder_->precision() == Precision::kBf16 ? "bf16" : "f32");
  }
  Napi::Value Isa(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), encoder_->kernels().isa);
  }

  std::unique_ptr<Encoder> encoder_;
};

}  // namespace

Napi::Function DefineEncoder(Napi::Env env) { return EncoderWrap::Define(env); }

}  // namespace tandem
