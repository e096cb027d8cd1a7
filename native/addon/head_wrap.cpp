// The JavaScript class Head: reads weights once, then one crossing per micro-batch.

#include <memory>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/head.h"

namespace tandem {
namespace {

FloatView FloatField(const Napi::Object& object, const char* name) {
  const ArrayView<float> view = Float32Argument(object.Get(name), name);
  return {view.data, view.size};
}

class HeadWrap : public Napi::ObjectWrap<HeadWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "Head",
        {InstanceMethod<&HeadWrap::Embed>("embed"), InstanceAccessor<&HeadWrap::Isa>("isa")});
  }

  explicit HeadWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<HeadWrap>(info) {
    const Napi::Object weights = ObjectArgument(info[0], "weights");
    const KernelTable& kernels = KernelsArgument(info[1]);
    const std::string fusion = StringArgument(weights.Get("fusion"), "fusion");
    if (fusion != "none" && fusion != "concat") {
      throw Napi::RangeError::New(
          info.Env(), "Expected \"none\" or \"concat\" for fusion, received \"" + fusion + "\".");
    }
    HeadWeightViews views;
    views.has_context = fusion == "concat";
    views.embedding_width =
        SizeArgument(weights.Get("embeddingWidth"), "embeddingWidth", 1, kMaxDimensions);
    views.hidden_width = SizeArgument(weights.Get("hiddenWidth"), "hiddenWidth", 1, kMaxDimensions);
    views.cold_start = FloatField(weights, "coldStart");
    views.hidden_weight = FloatField(weights, "hiddenWeight");
    views.hidden_bias = FloatField(weights, "hiddenBias");
    views.output_weight = FloatField(weights, "outputWeight");
    views.output_bias = FloatField(weights, "outputBias");
    views.skip_weight = FloatField(weights, "skipWeight");
    if (views.has_context) {
      const Napi::Object context = ObjectArgument(weights.Get("context"), "context");
      views.context_width =
          SizeArgument(context.Get("contextWidth"), "contextWidth", 1, kMaxDimensions);
      views.subject_width =
          SizeArgument(context.Get("subjectWidth"), "subjectWidth", 1, kMaxDimensions);
      views.demographic_width =
          SizeArgument(context.Get("demographicWidth"), "demographicWidth", 1, kMaxDimensions);
      views.subject_table = FloatField(context, "subjectTable");
      views.no_subject = FloatField(context, "noSubject");
      views.age_table = FloatField(context, "ageTable");
      views.country_table = FloatField(context, "countryTable");
      views.gender_table = FloatField(context, "genderTable");
      views.context_weight = FloatField(context, "contextWeight");
      views.context_bias = FloatField(context, "contextBias");
    }
    ThrowUnlessOk(info.Env(), Head::Create(views, kernels, &head_));
  }

 private:
  Napi::Value Embed(const Napi::CallbackInfo& info) {
    const Napi::Object batch = ObjectArgument(info[0], "batch");
    HeadBatchViews views;
    views.count = SizeArgument(batch.Get("count"), "count", 0, kMaxDimensions);
    views.states = FloatField(batch, "states");
    const ArrayView<std::uint8_t> has_state = Uint8Argument(batch.Get("hasState"), "hasState");
    views.has_state = has_state.data;
    views.has_state_size = has_state.size;
    views.state_age = FloatField(batch, "stateAge");
    const ArrayView<std::int32_t> offsets =
        Int32Argument(batch.Get("subjectOffsets"), "subjectOffsets");
    views.subject_offsets = offsets.data;
    views.subject_offsets_size = offsets.size;
    const ArrayView<std::int32_t> rows = Int32Argument(batch.Get("subjectRows"), "subjectRows");
    views.subject_rows = rows.data;
    views.subject_rows_size = rows.size;
    views.subject_weights = FloatField(batch, "subjectWeights");
    const ArrayView<std::int32_t> demographics =
        Int32Argument(batch.Get("demographics"), "demographics");
    views.demographics = demographics.data;
    views.demographics_size = demographics.size;
    const ArrayView<float> out = Float32Argument(info[1], "out");
    ThrowUnlessOk(info.Env(), head_->Embed(views, out.data, out.size));
    return info.Env().Undefined();
  }

  Napi::Value Isa(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), head_->kernels().isa);
  }

  std::unique_ptr<Head> head_;
};

}  // namespace

Napi::Function DefineHead(Napi::Env env) { return HeadWrap::Define(env); }

}  // namespace tandem
