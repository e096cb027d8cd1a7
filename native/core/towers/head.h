// The online half of the query tower over a micro-batch: context bag, attention over states, MLP
// and L2 normalisation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "core/runtime/views.h"
#include "core/towers/item_inputs.h"
#include "core/towers/linear.h"
#include "kernels/kernels.h"

namespace tandem {

/// How state and context are combined; docs/explanation/model.md has the formulas.
enum class HeadFusion { kNone, kConcat, kAttention };

/// Shapes as in HeadWeights of src/native, row-major, out-features first. Read only while Create
/// runs.
struct HeadWeightViews {
  HeadFusion fusion = HeadFusion::kNone;
  std::size_t embedding_width = 0;    // D
  std::size_t hidden_width = 0;       // H
  std::size_t context_width = 0;      // F
  std::size_t subject_width = 0;      // E
  std::size_t demographic_width = 0;  // G
  std::size_t heads = 0;              // divides D
  FloatView cold_start;               // [D]
  FloatView hidden_weight;            // [H, Z]
  FloatView hidden_bias;              // [H]
  FloatView output_weight;            // [D, H]
  FloatView output_bias;              // [D]
  FloatView skip_weight;              // [D, Z]
  // Every fusion but none.
  FloatView subject_table;   // [S, E]
  FloatView no_subject;      // [E]
  FloatView age_table;       // [ages, G]
  FloatView country_table;   // [countries, G]
  FloatView gender_table;    // [genders, G]
  FloatView context_weight;  // [F, E + 3 G], with subject items [F, E + 3 G + D]
  FloatView context_bias;    // [F]
  /// Whether the context also reads the item in view.
  bool has_subject_items = false;
  ItemInputViews subject_items;
  // Fusion attention.
  FloatView query_weight;             // [D, F]
  FloatView key_weight;               // [D, D]
  FloatView value_weight;             // [D, D]
  FloatView attention_output_weight;  // [D, D]
};

/// The lengths are included so that Embed can check them. Shapes as in HeadBatch of
/// src/features/head-batch.ts.
struct HeadBatchViews {
  std::size_t count = 0;
  FloatView states;
  ByteView has_state;
  FloatView state_age;
  Int32View subject_offsets;
  Int32View subject_rows;
  FloatView subject_weights;
  Int32View demographics;
  /// For heads with subject items.
  Int32View subject_items;
  /// Fusion attention reads these instead of states and has_state.
  Int32View sequence_offsets;
  FloatView sequence_rows;
};

/// Owns its packed weights. Tables of items and subjects are made on the shared pool. Micro-batches
/// may run at the same time on any threads: scratch belongs to the calling thread and is reused
/// between calls.
class Head {
 public:
  /// Copies and packs the weights for `kernels`. OutOfRange names the field with a wrong length.
  static Status Create(const HeadWeightViews& weights, Precision precision,
                       const KernelTable& kernels, std::unique_ptr<Head>* head);

  /// Writes out [count, D], rows of unit L2 norm. OutOfRange reports a wrong length or row index;
  /// NonFinite names the request. Allocates only when `count` or the longest sequence exceeds every
  /// earlier one.
  Status Embed(const HeadBatchViews& batch, float* out, std::size_t out_size) const;

  HeadFusion fusion() const { return fusion_; }
  bool reads_subject_items() const { return items_ > 0; }
  const KernelTable& kernels() const { return *kernels_; }

 private:
  /// Scratch of one thread, for a block of requests.
  struct Worker {
    AlignedBuffer rows;      // [block, row_width_]: hidden, then z
    AlignedBuffer subjects;  // [block, E], where the subject table is not multiplied
    AlignedBuffer items;     // [block, D], where the item table is not multiplied
    AlignedBuffer queries;   // [block, heads D], folded
    AlignedBuffer sums;      // [block, heads D], of states
    AlignedBuffer scores;    // [heads, longest sequence]
    AlignedBuffer rounded;   // of Linear::Apply
  };
  struct Scratch;

  /// A table whose rows enter the context layer. They are multiplied by their part of Wc when the
  /// weights are loaded, or else with each block of requests.
  struct ContextTable {
    /// The table's part of Wc.
    Linear layer;
    /// [rows, F] when multiplied; otherwise the rows as they were given.
    AlignedBuffer rows;
    bool multiplied = true;
  };

  static constexpr const char* kDemographicTables[3] = {"ageTable", "countryTable", "genderTable"};

  explicit Head(const KernelTable& kernels) : kernels_(&kernels) {}

  Status CreateContext(const HeadWeightViews& weights);
  Status CreateSubjects(const HeadWeightViews& weights, std::size_t inputs);
  Status CreateItems(const HeadWeightViews& weights, std::size_t inputs);
  Status CreateAttention(const HeadWeightViews& weights);
  Status CheckBatch(const HeadBatchViews& batch, std::size_t out_size) const;
  Status CheckContext(const HeadBatchViews& batch) const;
  /// Whether a context is a sum of table rows and no product follows.
  bool ContextIsSum() const { return subject_table_.multiplied && item_table_.multiplied; }
  bool Reserve(Scratch* scratch, std::size_t workers, std::size_t block, std::size_t longest) const;
  void WriteContext(const HeadBatchViews& batch, std::size_t request, float* subject, float* item,
                    float* context) const;
  void WriteInputs(const HeadBatchViews& batch, std::size_t first, std::size_t count,
                   Worker& worker) const;
  void Attend(const HeadBatchViews& batch, std::size_t first, std::size_t count,
              Worker& worker) const;
  std::size_t EmbedBlock(const HeadBatchViews& batch, std::size_t first, std::size_t count,
                         Worker& worker, float* out) const;

  const KernelTable* kernels_;
  Precision precision_ = Precision::kF32;
  HeadFusion fusion_ = HeadFusion::kNone;
  std::size_t embedding_width_ = 0;
  std::size_t hidden_width_ = 0;
  std::size_t context_width_ = 0;
  std::size_t subject_width_ = 0;
  std::size_t heads_ = 0;
  std::size_t row_width_ = 0;  // H + Z
  std::size_t subjects_ = 0;
  /// 0 when the context does not read the item in view.
  std::size_t items_ = 0;
  std::size_t demographic_rows_[3] = {};

  AlignedBuffer cold_start_;
  Linear hidden_layer_;
  /// [Wo ; Ws] side by side over [hidden ; z].
  Linear output_layer_;

  /// The last row stands for "no subject".
  ContextTable subject_table_;
  ContextTable item_table_;
  /// Wc e for each row e, [rows, F]. The first table includes the bias of the context layer.
  AlignedBuffer demographic_tables_[3];

  /// Per head h: Wk_h^T Wq_h / sqrt(D / heads), [heads D, F], and Wo_h Wv_h side by side, [D, heads
  /// D].
  Linear score_layer_;
  Linear value_layer_;
};

}  // namespace tandem
