// Input embeddings of items, x = id + weighted categories + advertiser + price. The history encoder
// reads them for the items of events, the head for the item in view, and the item tower for every
// item.
#pragma once

#include <cstddef>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "core/runtime/thread_pool.h"
#include "core/runtime/views.h"
#include "core/towers/linear.h"
#include "kernels/kernels.h"

namespace tandem {

/// Tables of the features that items share. Each is only there when the model has it.
struct ItemTableViews {
  bool has_categories = false;
  FloatView category_table;  // [categories, D]
  bool has_advertisers = false;
  FloatView advertiser_table;  // [advertisers, D]
  bool has_prices = false;
  FloatView price_table;  // [prices, D]
};

/// The rows that each item has in these tables. The rows of a missing table are not read.
struct ItemRowViews {
  Int32View category_offsets;  // [N + 1]
  Int32View category_rows;
  FloatView category_weights;
  Int32View advertiser_rows;  // [N]
  Int32View price_rows;       // [N]
};

/// Shapes as in ItemInputWeights of src/native.
struct ItemInputViews : ItemTableViews, ItemRowViews {
  FloatView item_table;  // [N, D]
};

/// Number of rows of each table.
struct ItemTableRows {
  std::size_t categories = 0;
  std::size_t advertisers = 0;
  std::size_t prices = 0;
};

/// The caller's names for its arrays, for messages.
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

/// Checks the views and counts the items. OutOfRange names the field with a wrong length or row;
/// NonFinite names the one that holds NaN or Inf.
Status CheckItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                       std::size_t* count);

/// The half of CheckItemInputs that reads whole tables, for a caller that keeps them.
Status CheckItemTables(const KernelTable& kernels, const ItemTableViews& tables, std::size_t width,
                       const ItemInputNames& names, ItemTableRows* rows);

/// The other half, for `count` items: lengths, and rows within the tables. Category weights may be
/// NaN or Inf.
Status CheckItemRows(const ItemTableViews& tables, const ItemTableRows& limits,
                     const ItemRowViews& items, std::size_t count, const ItemInputNames& names);

/// Writes x of the items [begin, end), [end - begin, width]. The views were checked.
void SumItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                   std::size_t begin, std::size_t end, float* rows);

/// Writes x of each of `count` items, [count, width]; or projection(x), [count, its outputs], when
/// a projection (in f32) is given. The views were checked. False when memory is short.
bool MakeItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                    std::size_t count, const Linear* projection, ThreadPool& pool,
                    AlignedBuffer* out);

}  // namespace tandem
