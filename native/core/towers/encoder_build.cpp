// Turns weights as they were trained into what the encoder keeps: checked, folded where a sum can
// be computed once, and packed.

#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "core/runtime/view_checks.h"
#include "core/towers/encoder.h"

namespace tandem {
namespace {

constexpr std::size_t kMaxWidth = 1 << 16;
constexpr const char* kWidth = "embeddingWidth";

using Into = Linear::Into;

/// A weight, the length it must have, and that length as letters for the message.
struct Field {
  std::string name;
  FloatView view;
  std::size_t length;
  const char* shape;
};

Status OutOfMemory() { return Status::Internal("Out of memory for the history encoder."); }

Status CheckSizes(const EncoderWeightViews& w) {
  struct Size {
    const char* name;
    std::size_t value;
  };
  const Size sizes[] = {{"embeddingWidth", w.embedding_width},
                        {"heads", w.heads},
                        {"feedForwardWidth", w.feed_forward_width},
                        {"maxHistory", w.max_history},
                        {"actionWidth", w.action_width},
                        {"the number of blocks", w.blocks.size()}};
  for (const Size& size : sizes) {
    if (size.value >= 1 && size.value <= kMaxWidth) continue;
    return Status::OutOfRange(std::string("Expected 1 to 65536 for ") + size.name + ", received " +
                              std::to_string(size.value) + ".");
  }
  const std::size_t d = w.embedding_width;
  if (d % w.heads != 0) {
    return Status::OutOfRange("Expected heads to divide embeddingWidth " + std::to_string(d) +
                              ", received " + std::to_string(w.heads) + ".");
  }
  return Status::Ok();
}

/// Checks the length of every weight whose shape the sizes determine, and that it is finite.
Status CheckFields(const KernelTable& kernels, const EncoderWeightViews& w) {
  const std::size_t d = w.embedding_width;
  const std::size_t f = w.feed_forward_width;
  std::vector<Field> fields = {
      {"positionTable", w.position_table, w.max_history * d, "[T, D]"},
      {"inputWeight", w.input_weight, d * (d + w.action_width), "[D, D + A]"},
      {"inputBias", w.input_bias, d, "[D]"},
      {"normScale", w.norm_scale, d, "[D]"},
      {"normOffset", w.norm_offset, d, "[D]"},
  };
  if (w.has_mean) fields.push_back({"meanWeight", w.mean_weight, d * d, "[D, D]"});
  for (std::size_t i = 0; i < w.blocks.size(); ++i) {
    const EncoderBlockViews& block = w.blocks[i];
    const std::string prefix = "blocks[" + std::to_string(i) + "].";
    for (const Field& field : {
             Field{"attentionNormScale", block.attention_norm_scale, d, "[D]"},
             Field{"attentionNormOffset", block.attention_norm_offset, d, "[D]"},
             Field{"queryWeight", block.query_weight, d * d, "[D, D]"},
             Field{"queryBias", block.query_bias, d, "[D]"},
             Field{"keyWeight", block.key_weight, d * d, "[D, D]"},
             Field{"keyBias", block.key_bias, d, "[D]"},
             Field{"valueWeight", block.value_weight, d * d, "[D, D]"},
             Field{"valueBias", block.value_bias, d, "[D]"},
             Field{"attentionOutputWeight", block.attention_output_weight, d * d, "[D, D]"},
             Field{"attentionOutputBias", block.attention_output_bias, d, "[D]"},
             Field{"feedForwardNormScale", block.feed_forward_norm_scale, d, "[D]"},
             Field{"feedForwardNormOffset", block.feed_forward_norm_offset, d, "[D]"},
             Field{"feedForwardWeight", block.feed_forward_weight, f * d, "[F, D]"},
             Field{"feedForwardBias", block.feed_forward_bias, f, "[F]"},
             Field{"feedForwardOutputWeight", block.feed_forward_output_weight, d * f, "[D, F]"},
             Field{"feedForwardOutputBias", block.feed_forward_output_bias, d, "[D]"},
         }) {
      fields.push_back({prefix + field.name, field.view, field.length, field.shape});
    }
  }
  for (const Field& field : fields) {
    const Status status = CheckWeights(kernels, field.name, field.view, field.length, field.shape);
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

}  // namespace

Status Encoder::Create(const EncoderWeightViews& weights, Precision precision, StateRows rows,
                       const KernelTable& kernels, ThreadPool& pool,
                       std::unique_ptr<Encoder>* encoder) {
  try {
    return TryCreate(weights, precision, rows, kernels, pool, encoder);
  } catch (const std::exception&) {
    return OutOfMemory();
  }
}

Status Encoder::TryCreate(const EncoderWeightViews& w, Precision precision, StateRows rows,
                          const KernelTable& kernels, ThreadPool& pool,
                          std::unique_ptr<Encoder>* encoder) {
  Status status = CheckSizes(w);
  if (status.ok()) status = CheckFields(kernels, w);
  if (!status.ok()) return status;
  std::unique_ptr<Encoder> made(new (std::nothrow) Encoder(kernels, precision, rows));
  if (made == nullptr) return OutOfMemory();
  made->width_ = w.embedding_width;
  made->heads_ = w.heads;
  made->head_width_ = w.embedding_width / w.heads;
  made->hidden_width_ = w.feed_forward_width;
  made->max_history_ = w.max_history;
  status = made->SetItems(w, pool);
  if (status.ok()) status = made->SetEvents(w);
  if (!status.ok()) return status;
  const bool all = rows == StateRows::kAll;
  made->full_blocks_.resize(w.blocks.size() - (all ? 0 : 1));
  bool enough = Copy(w.norm_scale, &made->norm_.scale) && Copy(w.norm_offset, &made->norm_.offset);
  for (std::size_t i = 0; i < made->full_blocks_.size(); ++i) {
    enough = enough && made->SetFull(w.blocks[i], &made->full_blocks_[i]);
  }
  if (!enough || !(all || made->SetLast(w.blocks.back()))) return OutOfMemory();
  *encoder = std::move(made);
  return Status::Ok();
}

/// Checks the tables of item features and makes item_table_, W_item (id + weighted categories +
/// advertiser + price). mean_table_ is made in the same way, because a mean of projected rows is
/// the projected mean.
///
/// The sum and its projection are the same in every event of an item, so each item has one row that
/// is computed once. This saves a twelfth of the multiplications of an event, and the tables of a
/// catalogue need not stay in memory. A million items of width 64 take 8 GFLOP once. The rows take
/// 256 MB, as much as the table of their ids alone.
Status Encoder::SetItems(const EncoderWeightViews& w, ThreadPool& pool) {
  const std::size_t d = width_;
  const Status status = CheckItemInputs(*kernels_, w.items, d, &items_);
  if (!status.ok()) return status;
  // In f32, whatever the precision: rounding would gain nothing here.
  const auto project = [&](const FloatView& weight, std::size_t stride, AlignedBuffer* table) {
    Linear projection;
    return projection.Pack(*kernels_, Precision::kF32, weight.data, stride, true, d, d, nullptr) &&
           MakeItemInputs(*kernels_, w.items, d, items_, &projection, pool, table);
  };
  if (!project(w.input_weight, d + w.action_width, &item_table_) ||
      (w.has_mean && !project(w.mean_weight, d, &mean_table_))) {
    return OutOfMemory();
  }
  return status;
}

/// W [item ; action] + b = W_item item + (W_action action + b). The second term is one row for each
/// action, and is made here.
Status Encoder::SetEvents(const EncoderWeightViews& w) {
  const std::size_t d = width_;
  const std::size_t a = w.action_width;
  Status status = CheckTable(*kernels_, "actionTable", w.action_table, "actionWidth", a, &actions_);
  if (status.ok()) status = CheckTable(*kernels_, "gapTable", w.gap_table, kWidth, d, &gaps_);
  if (!status.ok()) return status;
  if (!action_table_.Reserve(actions_ * d) || !Copy(w.gap_table, &gap_table_) ||
      !Copy(w.position_table, &position_table_)) {
    return OutOfMemory();
  }
  for (std::size_t row = 0; row < actions_; ++row) {
    for (std::size_t j = 0; j < d; ++j) {
      action_table_.data()[row * d + j] =
          w.input_bias.data[j] +
          kernels_->dot(w.action_table.data + row * a, w.input_weight.data + j * (d + a) + d, a);
    }
  }
  return Status::Ok();
}

bool Encoder::SetTail(const EncoderBlockViews& block, BlockTail* made) const {
  const std::size_t d = width_;
  const std::size_t f = hidden_width_;
  return made->attention_output.Pack(*kernels_, precision_, block.attention_output_weight.data, d,
                                     true, d, d, block.attention_output_bias.data) &&
         Copy(block.feed_forward_norm_scale, &made->feed_forward_norm.scale) &&
         Copy(block.feed_forward_norm_offset, &made->feed_forward_norm.offset) &&
         made->feed_forward.Pack(*kernels_, precision_, block.feed_forward_weight.data, d, true, d,
                                 f, block.feed_forward_bias.data) &&
         made->feed_forward_output.Pack(*kernels_, precision_,
                                        block.feed_forward_output_weight.data, f, true, f, d,
                                        block.feed_forward_output_bias.data);
}

bool Encoder::SetFull(const EncoderBlockViews& block, FullBlock* made) const {
  const std::size_t d = width_;
  AlignedBuffer weight;
  AlignedBuffer bias;
  if (!weight.Reserve(3 * d * d) || !bias.Reserve(3 * d)) return false;
  const FloatView* weights[] = {&block.query_weight, &block.key_weight, &block.value_weight};
  const FloatView* biases[] = {&block.query_bias, &block.key_bias, &block.value_bias};
  for (std::size_t part = 0; part < 3; ++part) {
    std::memcpy(weight.data() + part * d * d, weights[part]->data, d * d * sizeof(float));
    std::memcpy(bias.data() + part * d, biases[part]->data, d * sizeof(float));
  }
  // The scale of the scores, applied once here instead of to every score.
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_width_));
  for (std::size_t i = 0; i < d * d; ++i) weight.data()[i] *= scale;
  for (std::size_t i = 0; i < d; ++i) bias.data()[i] *= scale;
  return Copy(block.attention_norm_scale, &made->attention_norm.scale) &&
         Copy(block.attention_norm_offset, &made->attention_norm.offset) &&
         made->query_key_value.Pack(*kernels_, precision_, weight.data(), d, true, d, 3 * d,
                                    bias.data()) &&
         SetTail(block, &made->tail);
}

bool Encoder::SetLast(const EncoderBlockViews& block) {
  const std::size_t d = width_;
  AlignedBuffer query;
  AlignedBuffer bias;
  if (!query.Reserve(d * d) || !bias.Reserve(d)) return false;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_width_));
  for (std::size_t i = 0; i < d * d; ++i) query.data()[i] = block.query_weight.data[i] * scale;
  for (std::size_t i = 0; i < d; ++i) bias.data()[i] = block.query_bias.data[i] * scale;
  LastBlock& made = last_block_;
  if (!Copy(block.attention_norm_scale, &made.attention_norm.scale) ||
      !Copy(block.attention_norm_offset, &made.attention_norm.offset) ||
      !made.query.Pack(*kernels_, precision_, query.data(), d, true, d, d, bias.data())) {
    return false;
  }
  made.keys.resize(heads_);
  made.values.resize(heads_);
  for (std::size_t head = 0; head < heads_; ++head) {
    const std::size_t first = head * head_width_;
    // The bias of the keys adds the same number to every score of a query, which a softmax does not
    // change.
    if (!made.keys[head].Pack(*kernels_, precision_, block.key_weight.data + first * d, d, false,
                              head_width_, d, nullptr) ||
        !made.values[head].Pack(*kernels_, precision_, block.value_weight.data + first * d, d, true,
                                d, head_width_, block.value_bias.data + first)) {
      return false;
    }
  }
  return SetTail(block, &made.tail);
}

}  // namespace tandem
