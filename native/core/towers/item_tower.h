// The item tower: from items' features to their vectors, also of items that a catalogue does not have. docs/model.md
#pragma once

#include <cstddef>
#include <memory>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "core/runtime/thread_pool.h"
#include "core/runtime/views.h"
#include "core/towers/item_inputs.h"
#include "core/towers/linear.h"
#include "kernels/kernels.h"

namespace tandem {

/// Shapes as in ItemTowerWeights of src/native/binding.ts, row-major, out-features first. Read while Create runs only.
struct ItemTowerWeightViews {
  std::size_t embedding_width = 0;  // D
  std::size_t hidden_width = 0;     // H
  FloatView hidden_weight;          // [H, D]
  FloatView hidden_bias;            // [H]
  FloatView output_weight;          // [D, H]
  FloatView output_bias;            // [D]
  ItemTableViews tables;
};

/// Owns its packed weights and the tables of features; the id row of an item comes with the item, so that no table of a
/// whole catalogue is held. Safe from any thread.
class ItemTower {
 public:
  /// OutOfRange names the field with a wrong length, NonFinite the one that holds NaN or Inf.
  static Status Create(const ItemTowerWeightViews& weights, const KernelTable& kernels,
                       std::unique_ptr<ItemTower>* tower);

  /// Unit vectors v = unit(x + W2 relu(W1 x + b1) + b2) of `count` items, x the id row plus the features; out [count, D].
  ///
  /// A vector depends on its item alone: neither on who else is in the batch nor on the pool's threads, to the last bit.
  /// OutOfRange names the position of what is wrong, NonFinite the first item whose vector is NaN, Inf or zero.
  ///
  /// id_rows  [count, D].
  Status Embed(std::size_t count, const FloatView& id_rows, const ItemRowViews& items,
               ThreadPool& pool, float* out, std::size_t out_size) const;

  const KernelTable& kernels() const { return *kernels_; }
  std::size_t embedding_width() const { return width_; }

 private:
  explicit ItemTower(const KernelTable& kernels) : kernels_(&kernels) {}

  const KernelTable* kernels_;
  std::size_t width_ = 0;
  std::size_t hidden_width_ = 0;
  Linear hidden_layer_;
  Linear output_layer_;
  AlignedBuffer category_table_;
  AlignedBuffer advertiser_table_;
  AlignedBuffer price_table_;
  ItemTableViews tables_;  // of the three above
  ItemTableRows table_rows_;
};

}  // namespace tandem
