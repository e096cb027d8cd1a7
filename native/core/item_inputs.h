// Input embeddings of a catalogue's items, x = id + weighted categories + advertiser + price: what the history encoder
// reads of an event's item, and the head of the item in view.
#pragma once

#include <cstddef>

#include "core/aligned_buffer.h"
#include "core/linear.h"
#include "core/status.h"
#include "core/thread_pool.h"
#include "core/views.h"
#include "kernels/kernels.h"

namespace tandem {

/// Shapes as in ItemInputWeights of src/native/binding.ts.
struct ItemInputViews {
  FloatView item_table;  // [N, D]
  bool has_categories = false;
  FloatView category_table;    // [categories, D]
  Int32View category_offsets;  // [N + 1]
  Int32View category_rows;
  FloatView category_weights;
  bool has_advertisers = false;
  FloatView advertiser_table;  // [advertisers, D]
  Int32View advertiser_rows;   // [N]
  bool has_prices = false;
  FloatView price_table;  // [prices, D]
  Int32View price_rows;   // [N]
};

/// Counts the items. OutOfRange names the field with a wrong length or row, NonFinite the one that holds NaN or Inf.
Status CheckItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                       std::size_t* count);

/// x of each of `count` items, [count, width], or projection(x), [count, its outputs], where a projection (in f32) is
/// given. The views were checked. False when memory is short.
bool MakeItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                    std::size_t count, const Linear* projection, ThreadPool& pool,
                    AlignedBuffer* out);

}  // namespace tandem
