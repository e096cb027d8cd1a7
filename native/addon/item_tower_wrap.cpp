// The JavaScript class ItemTower. Weights are read once; after that, each batch of items is one
// call into C++.

#include <memory>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/towers/item_tower.h"

namespace tandem {
namespace {

/// Reads a table that may be left out. False when it is.
bool TableField(const Napi::Object& weights, const char* name, FloatView* table) {
  if (weights.Get(name).IsUndefined()) return false;
  *table = FloatField(weights, name);
  return true;
}

class ItemTowerWrap : public Napi::ObjectWrap<ItemTowerWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ItemTower",
                       {InstanceMethod<&ItemTowerWrap::Embed>("embed"),
                        InstanceAccessor<&ItemTowerWrap::Isa>("isa")});
  }

  explicit ItemTowerWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ItemTowerWrap>(info) {
    const Napi::Object weights = ObjectArgument(info[0], "weights");
    const KernelTable& kernels = KernelsArgument(info[1]);
    ItemTowerWeightViews views;
    views.embedding_width = WidthField(weights, "embeddingWidth");
    views.hidden_width = WidthField(weights, "hiddenWidth");
    views.hidden_weight = FloatField(weights, "hiddenWeight");
    views.hidden_bias = FloatField(weights, "hiddenBias");
    views.output_weight = FloatField(weights, "outputWeight");
    views.output_bias = FloatField(weights, "outputBias");
    ItemTableViews& tables = views.tables;
    tables.has_categories = TableField(weights, "categoryTable", &tables.category_table);
    tables.has_advertisers = TableField(weights, "advertiserTable", &tables.advertiser_table);
    tables.has_prices = TableField(weights, "priceTable", &tables.price_table);
    ThrowUnlessOk(info.Env(), ItemTower::Create(views, kernels, &tower_));
  }

 private:
  Napi::Value Embed(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Napi::Object items = ObjectArgument(info[0], "items");
    const std::size_t count = SizeArgument(items.Get("count"), "count", 0, kMaxCount);
    ItemRowViews views;
    views.category_offsets = Int32Field(items, "categoryOffsets");
    views.category_rows = Int32Field(items, "categoryRows");
    views.category_weights = FloatField(items, "categoryWeights");
    views.advertiser_rows = Int32Field(items, "advertiserRows");
    views.price_rows = Int32Field(items, "priceRows");
    const FloatView id_rows = Float32Argument(info[1], "idRows");
    const ArrayView<float> out = Float32Argument(info[2], "out");
    ThrowUnlessOk(env,
                  tower_->Embed(count, id_rows, views, ThreadPool::Shared(), out.data, out.size));
    return env.Undefined();
  }

  Napi::Value Isa(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), tower_->kernels().isa);
  }

  std::unique_ptr<ItemTower> tower_;
};

}  // namespace

Napi::Function DefineItemTower(Napi::Env env) { return ItemTowerWrap::Define(env); }

}  // namespace tandem
