// Input embeddings of items, x = id + weighted categories + advertiser + price: what the history encoder reads of an
// event's item, the head of the item in view, and the item tower of every item.
#pragma once

#include <cstddef>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "core/runtime/thread_pool.h"
#include "core/runtime/views.h"
#include "core/towers/linear.h"
#include "kernels/kernels.h"

namespace tandem {

/// Tables of the features that items share, each only where the model has it.
struct ItemTableViews {
  bool has_categories = false;
  FloatView category_table;  // [categories, D]
  bool has_advertisers = false;
  FloatView advertiser_table;  // [advertisers, D]
  bool has_prices = false;
  FloatView price_table;  // [prices, D]
};

/// Which rows of these tables each item has; those of a table that is not there are not looked at.
struct ItemRowViews {
  Int32View category_offsets;  // [N + 1]
  Int32View category_rows;
  FloatView category_weights;
  Int32View advertiser_rows;  // [N]
  Int32View price_rows;       // [N]
};

/// Shapes as in ItemInputWeights of src/native/binding.ts.
struct ItemInputViews : ItemTableViews, ItemRowViews {
  FloatView item_table;  // [N, D]
};

/// Rows of each table.
struct ItemTableRows {
  std::size_t categories = 0;
  std::size_t advertisers = 0;
  std::size_t prices = 0;
};

/// What the caller calls its arrays, for messages.
struct ItemInputNames {
  const char* category_table = "categories.table";
  const char* category_offsets = "categories.offsets";
  const char* category_rows = "categories.rows";
  const char* category_weights = "categories.weights";
  const char* advertiser_table = "advertisers.table";
  const char* advertiser_rows = "advertisers.rows";
  const char* price_table = "prices.table";
  const char* price_rows = "prices.rows";
};

/// Counts the items. OutOfRange names the field with a wrong length or row, NonFinite the one that holds NaN or Inf.
Status CheckItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                       std::size_t* count);

/// The half of CheckItemInputs that reads whole tables: for a caller who keeps them.
Status CheckItemTables(const KernelTable& kernels, const ItemTableViews& tables, std::size_t width,
                       const ItemInputNames& names, ItemTableRows* rows);

/// The other half, for `count` items: lengths, and rows below those of the tables. Weights may be NaN or Inf.
Status CheckItemRows(const ItemTableViews& tables, const ItemTableRows& limits,
                     const ItemRowViews& items, std::size_t count, const ItemInputNames& names);

/// x of the items [begin, end), [end - begin, width]. The views were checked.
void SumItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                   std::size_t begin, std::size_t end, float* rows);

/// x of each of `count` items, [count, width], or projection(x), [count, its outputs], where a projection (in f32) is
/// given. The views were checked. False when memory is short.
bool MakeItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                    std::size_t count, const Linear* projection, ThreadPool& pool,
                    AlignedBuffer* out);

}  // namespace tandem
