// The JavaScript class Head. Weights are read once; after that, each micro-batch is one call into
// C++.

#include <memory>
#include <utility>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "addon/ticket.h"
#include "core/towers/head.h"

namespace tandem {
namespace {

HeadFusion FusionField(const Napi::Object& weights) {
  const std::string name = StringArgument(weights.Get("fusion"), "fusion");
  if (name == "none") return HeadFusion::kNone;
  if (name == "concat") return HeadFusion::kConcat;
  if (name == "attention") return HeadFusion::kAttention;
  throw Napi::RangeError::New(
      weights.Env(),
      "Expected \"none\", \"concat\" or \"attention\" for fusion, received \"" + name + "\".");
}

void ReadContext(const Napi::Object& context, HeadWeightViews* views) {
  views->context_width = WidthField(context, "contextWidth");
  views->subject_width = WidthField(context, "subjectWidth");
  views->demographic_width = WidthField(context, "demographicWidth");
  views->subject_table = FloatField(context, "subjectTable");
  views->no_subject = FloatField(context, "noSubject");
  views->age_table = FloatField(context, "ageTable");
  views->country_table = FloatField(context, "countryTable");
  views->gender_table = FloatField(context, "genderTable");
  views->context_weight = FloatField(context, "contextWeight");
  views->context_bias = FloatField(context, "contextBias");
  const Napi::Value items = context.Get("subjectItems");
  views->has_subject_items = !items.IsUndefined();
  if (views->has_subject_items) {
    views->subject_items = ItemInputFields(ObjectArgument(items, "subjectItems"));
  }
}

void ReadAttention(const Napi::Object& attention, HeadWeightViews* views) {
  views->heads = WidthField(attention, "heads");
  views->query_weight = FloatField(attention, "queryWeight");
  views->key_weight = FloatField(attention, "keyWeight");
  views->value_weight = FloatField(attention, "valueWeight");
  views->attention_output_weight = FloatField(attention, "outputWeight");
}

class HeadWrap : public Napi::ObjectWrap<HeadWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "Head",
        {InstanceMethod<&HeadWrap::EmbedArrays>("embedArrays"),
         InstanceMethod<&HeadWrap::Share>("share"), InstanceAccessor<&HeadWrap::Isa>("isa")});
  }

  /// Takes weights, or the ticket of a head on another thread.
  explicit HeadWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<HeadWrap>(info) {
    if (info[0].IsBigInt()) {
      head_ = Tickets<Head>::Redeem(info[0]);
      return;
    }
    const Napi::Object weights = ObjectArgument(info[0], "weights");
    const KernelTable& kernels = KernelsArgument(info[1]);
    const Precision precision = PrecisionArgument(info[2]);
    HeadWeightViews views;
    views.fusion = FusionField(weights);
    views.embedding_width = WidthField(weights, "embeddingWidth");
    views.hidden_width = WidthField(weights, "hiddenWidth");
    views.cold_start = FloatField(weights, "coldStart");
    views.hidden_weight = FloatField(weights, "hiddenWeight");
    views.hidden_bias = FloatField(weights, "hiddenBias");
    views.output_weight = FloatField(weights, "outputWeight");
    views.output_bias = FloatField(weights, "outputBias");
    views.skip_weight = FloatField(weights, "skipWeight");
    if (views.fusion != HeadFusion::kNone) {
      ReadContext(ObjectArgument(weights.Get("context"), "context"), &views);
    }
    if (views.fusion == HeadFusion::kAttention) {
      ReadAttention(ObjectArgument(weights.Get("attention"), "attention"), &views);
    }
    std::unique_ptr<Head> head;
    ThrowUnlessOk(info.Env(), Head::Create(views, precision, kernels, &head));
    head_ = std::move(head);
  }

 private:
  /// Takes the fields of a HeadBatch and `out` as separate arguments; src/native splits the batch
  /// into them.
  Napi::Value EmbedArrays(const Napi::CallbackInfo& info) {
    HeadBatchViews views;
    views.count = SizeArgument(info[0], "count", 0, kMaxDimensions);
    if (head_->fusion() == HeadFusion::kAttention) {
      views.sequence_offsets = Int32Argument(info[9], "sequenceOffsets");
      views.sequence_rows = Float32Argument(info[10], "sequenceRows");
    } else {
      views.states = Float32Argument(info[1], "states");
      views.has_state = Uint8Argument(info[2], "hasState");
    }
    if (head_->fusion() != HeadFusion::kNone) {
      views.state_age = Float32Argument(info[3], "stateAge");
      views.subject_offsets = Int32Argument(info[4], "subjectOffsets");
      views.subject_rows = Int32Argument(info[5], "subjectRows");
      views.subject_weights = Float32Argument(info[6], "subjectWeights");
      views.demographics = Int32Argument(info[7], "demographics");
      if (head_->reads_subject_items()) {
        views.subject_items = Int32Argument(info[8], "subjectItems");
      }
    }
    const ArrayView<float> out = Float32Argument(info[11], "out");
    ThrowUnlessOk(info.Env(), head_->Embed(views, out.data, out.size));
    return info.Env().Undefined();
  }

  Napi::Value Share(const Napi::CallbackInfo& info) {
    return Tickets<Head>::Issue(info.Env(), head_);
  }

  Napi::Value Isa(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), head_->kernels().isa);
  }

  std::shared_ptr<const Head> head_;
};

}  // namespace

Napi::Function DefineHead(Napi::Env env) { return HeadWrap::Define(env); }

}  // namespace tandem
