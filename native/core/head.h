// The online half of the query tower: context bag, MLP and L2 normalisation, fused over a micro-batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/status.h"
#include "core/views.h"
#include "kernels/kernels.h"

namespace tandem {

/// Shapes as in HeadWeights of src/native/binding.ts, row-major, out-features first. Read while Create runs only.
struct HeadWeightViews {
  bool has_context = false;
  std::size_t embedding_width = 0;    // D
  std::size_t hidden_width = 0;       // H
  std::size_t context_width = 0;      // F
  std::size_t subject_width = 0;      // E
  std::size_t demographic_width = 0;  // G
  FloatView cold_start;               // [D]
  FloatView hidden_weight;            // [H, Z]
  FloatView hidden_bias;              // [H]
  FloatView output_weight;            // [D, H]
  FloatView output_bias;              // [D]
  FloatView skip_weight;              // [D, Z]
  FloatView subject_table;            // [S, E]
  FloatView no_subject;               // [E]
  FloatView age_table;                // [ages, G]
  FloatView country_table;            // [countries, G]
  FloatView gender_table;             // [genders, G]
  FloatView context_weight;           // [F, E + 3 G]
  FloatView context_bias;             // [F]
};

/// Lengths come along so that Embed can check them; shapes as in HeadBatch of src/native/binding.ts.
struct HeadBatchViews {
  std::size_t count = 0;
  FloatView states;
  const std::uint8_t* has_state = nullptr;
  std::size_t has_state_size = 0;
  FloatView state_age;
  const std::int32_t* subject_offsets = nullptr;
  std::size_t subject_offsets_size = 0;
  const std::int32_t* subject_rows = nullptr;
  std::size_t subject_rows_size = 0;
  FloatView subject_weights;
  const std::int32_t* demographics = nullptr;
  std::size_t demographics_size = 0;
};

/// Owns its packed weights and its scratch. One thread at a time: scratch is reused between calls.
class Head {
 public:
  /// Packs (copies) the weights for `kernels`. OutOfRange names the field with a wrong length.
  static Status Create(const HeadWeightViews& weights, const KernelTable& kernels,
                       std::unique_ptr<Head>* head);

  /// out [count, D], rows of unit L2 norm. OutOfRange for a wrong length or row index; NonFinite names the request.
  /// Allocates only while `count` exceeds every earlier one.
  Status Embed(const HeadBatchViews& batch, float* out, std::size_t out_size);

  const KernelTable& kernels() const { return *kernels_; }
  std::size_t embedding_width() const { return embedding_width_; }

 private:
  explicit Head(const KernelTable& kernels) : kernels_(&kernels) {}

  Status CheckBatch(const HeadBatchViews& batch, std::size_t out_size) const;
  void WriteContextInput(const HeadBatchViews& batch, std::size_t request, float* x) const;

  const KernelTable* kernels_;
  bool has_context_ = false;
  std::size_t embedding_width_ = 0;
  std::size_t hidden_width_ = 0;
  std::size_t context_width_ = 0;
  std::size_t subject_width_ = 0;
  std::size_t demographic_width_ = 0;
  std::size_t fused_width_ = 0;    // Z
  std::size_t context_input_ = 0;  // E + 3 G
  std::size_t subjects_ = 0;
  std::size_t demographic_rows_[3] = {};

  AlignedBuffer cold_start_;
  /// [Wh ; Ws] stacked and packed, so that z is read once; bias [bh ; bo].
  AlignedBuffer stacked_weight_;
  AlignedBuffer stacked_bias_;
  AlignedBuffer output_weight_;
  AlignedBuffer context_weight_;
  AlignedBuffer context_bias_;
  AlignedBuffer subject_table_;
  AlignedBuffer no_subject_;
  AlignedBuffer demographic_tables_[3];

  AlignedBuffer scratch_;
};

}  // namespace tandem
