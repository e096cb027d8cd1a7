// Checks and packs the weights of the item tower once, and takes batches of items through it, a
// block of rows at a time.

#include "core/towers/item_tower.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <string>
#include <utility>

#include "core/runtime/view_checks.h"
#include "core/towers/unit_row.h"

namespace tandem {
namespace {

constexpr std::size_t kMaxWidth = 1 << 16;
/// Items that a thread takes through both layers at once: about 25 microseconds at the default
/// widths.
constexpr std::size_t kBlock = Linear::kRows;

/// The names in ItemTowerWeights and ItemFeatures.
constexpr ItemInputNames kNames = {"categoryTable",   "categoryOffsets", "categoryRows",
                                   "categoryWeights", "advertiserTable", "advertiserRows",
                                   "priceTable",      "priceRows"};

Status OutOfMemory() { return Status::Internal("Out of memory for the item tower."); }

}  // namespace

Status ItemTower::Create(const ItemTowerWeightViews& w, const KernelTable& kernels,
                         std::unique_ptr<ItemTower>* tower) {
  const std::size_t d = w.embedding_width;
  const std::size_t h = w.hidden_width;
  if (d < 1 || d > kMaxWidth || h < 1 || h > kMaxWidth) {
    return Status::OutOfRange("Expected 1 to 65536 for embeddingWidth and hiddenWidth, received " +
                              std::to_string(d) + " and " + std::to_string(h) + ".");
  }
  Status status = CheckWeights(kernels, "hiddenWeight", w.hidden_weight, h * d, "[H, D]");
  if (status.ok()) status = CheckWeights(kernels, "hiddenBias", w.hidden_bias, h, "[H]");
  if (status.ok()) {
    status = CheckWeights(kernels, "outputWeight", w.output_weight, d * h, "[D, H]");
  }
  if (status.ok()) status = CheckWeights(kernels, "outputBias", w.output_bias, d, "[D]");
  ItemTableRows rows;
  if (status.ok()) status = CheckItemTables(kernels, w.tables, d, kNames, &rows);
  if (!status.ok()) return status;

  std::unique_ptr<ItemTower> made(new (std::nothrow) ItemTower(kernels));
  if (made == nullptr) return OutOfMemory();
  made->width_ = d;
  made->hidden_width_ = h;
  made->table_rows_ = rows;
  const auto keep = [](bool has, const FloatView& from, AlignedBuffer* table, FloatView* view) {
    if (!has) return true;
    if (!Copy(from, table)) return false;
    *view = {table->data(), from.size};
    return true;
  };
  ItemTableViews& kept = made->tables_;
  kept = w.tables;
  if (!made->hidden_layer_.Pack(kernels, Precision::kF32, w.hidden_weight.data, d, true, d, h,
                                w.hidden_bias.data) ||
      !made->output_layer_.Pack(kernels, Precision::kF32, w.output_weight.data, h, true, h, d,
                                w.output_bias.data) ||
      !keep(kept.has_categories, w.tables.category_table, &made->category_table_,
            &kept.category_table) ||
      !keep(kept.has_advertisers, w.tables.advertiser_table, &made->advertiser_table_,
            &kept.advertiser_table) ||
      !keep(kept.has_prices, w.tables.price_table, &made->price_table_, &kept.price_table)) {
    return OutOfMemory();
  }
  *tower = std::move(made);
  return Status::Ok();
}

Status ItemTower::Embed(std::size_t count, const FloatView& id_rows, const ItemRowViews& items,
                        ThreadPool& pool, float* out, std::size_t out_size) const {
  const std::size_t d = width_;
  const std::size_t h = hidden_width_;
  Status status = CheckLength("idRows", count * d, "[N, D]", id_rows.size);
  if (status.ok()) status = CheckLength("out", count * d, "[N, D]", out_size);
  if (status.ok()) status = CheckItemRows(tables_, table_rows_, items, count, kNames);
  if (!status.ok()) return status;

  ItemInputViews inputs;
  static_cast<ItemTableViews&>(inputs) = tables_;
  static_cast<ItemRowViews&>(inputs) = items;
  inputs.item_table = id_rows;
  // The hidden layers of all threads; the calling thread keeps them.
  thread_local AlignedBuffer scratch;
  if (!scratch.Reserve(pool.size() * kBlock * h)) return OutOfMemory();
  float* const hidden_layers = scratch.data();

  std::atomic<std::size_t> refused{count};
  pool.ParallelFor((count + kBlock - 1) / kBlock, [&](std::size_t block, std::size_t worker) {
    const std::size_t begin = block * kBlock;
    const std::size_t end = std::min(count, begin + kBlock);
    float* const hidden = hidden_layers + worker * kBlock * h;
    float* const rows = out + begin * d;
    AlignedBuffer no_scratch;
    SumItemInputs(*kernels_, inputs, d, begin, end, rows);
    hidden_layer_.Apply(*kernels_, rows, d, end - begin, Linear::Into::kOverwriteRelu, hidden, h,
                        no_scratch);
    output_layer_.Apply(*kernels_, hidden, h, end - begin, Linear::Into::kAdd, rows, d, no_scratch);
    for (std::size_t item = begin; item < end; ++item) {
      if (Normalise(*kernels_, out + item * d, d)) continue;
      std::size_t first = refused.load();
      while (item < first && !refused.compare_exchange_weak(first, item)) {
      }
      return;
    }
  });
  const std::size_t item = refused.load();
  if (item == count) return status;
  const float* row = out + item * d;
  const bool zero = std::all_of(row, row + d, [](float x) { return x == 0.0f; });
  return Status::NonFinite("Expected a finite item vector with a direction, received " +
                           std::string(zero ? "zero norm" : "NaN or Inf") + " for item " +
                           std::to_string(item) +
                           ". Check its id row, category weights and the bundle's weights.");
}

}  // namespace tandem
