// The item tower turns items' features into vectors, also for items that are not in the catalogue.
// The formula is in docs/explanation/model.md.
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

/// Shapes as in ItemTowerWeights of src/native, row-major, out-features first. Read only while
/// Create runs.
struct ItemTowerWeightViews {
  std::size_t embedding_width = 0;  // D
  std::size_t hidden_width = 0;     // H
  FloatView hidden_weight;          // [H, D]
  FloatView hidden_bias;            // [H]
  FloatView output_weight;          // [D, H]
  FloatView output_bias;            // [D]
  ItemTableViews tables;
};

/// Owns its packed weights and the tables of features. The id row of an item is passed with the
/// item, so that no table of a whole catalogue is held. Safe from any thread.
class ItemTower {
 public:
  /// OutOfRange names the field with a wrong length; NonFinite names the one that holds NaN or Inf.
  static Status Create(const ItemTowerWeightViews& weights, const KernelTable& kernels,
                       std::unique_ptr<ItemTower>* tower);

  /// Computes the vectors of `count` items, v = unit(x + W2 relu(W1 x + b1) + b2), where x is the
  /// id row plus the features; out [count, D].
  ///
  /// A vector depends only on its item, to the last bit: not on the other items of the batch, nor
  /// on the pool's threads. OutOfRange names the position of a wrong value; NonFinite names the
  /// first item whose vector is NaN, Inf or zero.
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
  ItemTableViews tables_;  // of these three tables
  ItemTableRows table_rows_;
};

}  // namespace tandem
