// The forward pass of the history encoder over packed sequences: which rows are computed, in which order, by whom.
//
// A thread takes a range of users through all layers, so nothing waits between layers and what it touches stays in its
// L2. Histories lie one after the other without padding: to a dense layer they are one tall matrix.

#include "core/encoder.h"

#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <string>

namespace tandem {
namespace {

/// Events of a range of users, unless a single history is longer: activations of 256 x 64 x 5 floats are 320 KiB.
constexpr std::size_t kRangeTokens = 256;
/// Fewer are not worth a thread of their own: the weights would pass through the cache for too few rows.
constexpr std::size_t kMinRangeTokens = 64;
/// Queries that attend together: a multiple of every row tile, small against a history so that little is computed of
/// the future, which is thrown away.
constexpr std::size_t kQueryRows = 24;
/// As in src/model/layers.ts.
constexpr float kNormEpsilon = 1e-5f;
constexpr std::size_t kMaxWidth = 1 << 16;

using Into = Linear::Into;

/// A weight, the length it must have, and that length as letters.
struct Field {
  std::string name;
  FloatView view;
  std::size_t length;
  const char* shape;
};

Status CheckField(const KernelTable& kernels, const Field& field) {
  if (field.view.size != field.length) {
    return Status::OutOfRange("Expected length " + std::to_string(field.length) + " " +
                              field.shape + " for " + field.name + ", received length " +
                              std::to_string(field.view.size) + ".");
  }
  if (!kernels.all_finite(field.view.data, field.view.size)) {
    return Status::NonFinite("Expected finite weights in " + field.name +
                             ", received NaN or Inf. Take a checkpoint whose loss is finite.");
  }
  return Status::Ok();
}

/// A table of any number of rows, at least one.
Status CheckTable(const KernelTable& kernels, const char* name, const FloatView& table,
                  std::size_t width, std::size_t* rows) {
  *rows = table.size / width;
  if (*rows == 0 || table.size % width != 0) {
    return Status::OutOfRange("Expected a positive multiple of " + std::to_string(width) +
                              " as length of " + name + ", received " + std::to_string(table.size) +
                              ".");
  }
  return CheckField(kernels, {name, table, table.size, ""});
}

Status CheckRows(const char* name, const Int32View& rows, std::size_t count, std::size_t limit) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t row = rows.data[i];
    if (row >= 0 && static_cast<std::size_t>(row) < limit) continue;
    return Status::OutOfRange("Expected rows from 0 to " + std::to_string(limit - 1) + " in " +
                              name + ", received " + std::to_string(row) + " at " +
                              std::to_string(i) + ".");
  }
  return Status::Ok();
}

Status CheckLength(const char* name, const Int32View& view, std::size_t expected) {
  if (view.size == expected) return Status::Ok();
  return Status::OutOfRange("Expected length " + std::to_string(expected) + " for " + name +
                            ", received length " + std::to_string(view.size) + ".");
}

Status CheckOffsets(const char* name, const Int32View& offsets) {
  for (std::size_t i = 0; i < offsets.size; ++i) {
    const std::int32_t before = i == 0 ? 0 : offsets.data[i - 1];
    if (i == 0 ? offsets.data[i] == 0 : offsets.data[i] >= before) continue;
    return Status::OutOfRange(std::string("Expected ascending offsets from 0 for ") + name +
                              ", received " + std::to_string(offsets.data[i]) + " at " +
                              std::to_string(i) + ".");
  }
  return Status::Ok();
}

Status OutOfMemory() { return Status::Internal("Out of memory for the history encoder."); }

bool Copy(const FloatView& from, AlignedBuffer* to) {
  if (!to->Reserve(from.size)) return false;
  if (from.size > 0) std::memcpy(to->data(), from.data, from.size * sizeof(float));
  return true;
}

const float* RowOf(const FloatView& table, std::int32_t row, std::size_t width) {
  return table.data + static_cast<std::size_t>(row) * width;
}

const float* RowOf(const AlignedBuffer& table, std::int32_t row, std::size_t width) {
  return table.data() + static_cast<std::size_t>(row) * width;
}

std::size_t LengthOf(const HistoryViews& batch, std::size_t user) {
  return static_cast<std::size_t>(batch.offsets.data[user + 1] - batch.offsets.data[user]);
}

}  // namespace

Status Encoder::Create(const EncoderWeightViews& weights, Precision precision,
                       const KernelTable& kernels, ThreadPool& pool,
                       std::unique_ptr<Encoder>* encoder) {
  try {
    return TryCreate(weights, precision, kernels, pool, encoder);
  } catch (const std::exception&) {
    return OutOfMemory();
  }
}

Status Encoder::TryCreate(const EncoderWeightViews& w, Precision precision,
                          const KernelTable& kernels, ThreadPool& pool,
                          std::unique_ptr<Encoder>* encoder) {
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
  const std::size_t f = w.feed_forward_width;
  if (d % w.heads != 0) {
    return Status::OutOfRange("Expected heads to divide embeddingWidth " + std::to_string(d) +
                              ", received " + std::to_string(w.heads) + ".");
  }
  std::vector<Field> fields = {
      {"positionTable", w.position_table, w.max_history * d, "[T, D]"},
      {"inputWeight", w.input_weight, d * (d + w.action_width), "[D, D + A]"},
      {"inputBias", w.input_bias, d, "[D]"},
      {"normScale", w.norm_scale, d, "[D]"},
      {"normOffset", w.norm_offset, d, "[D]"},
  };
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
    const Status status = CheckField(kernels, field);
    if (!status.ok()) return status;
  }

  std::unique_ptr<Encoder> made(new (std::nothrow) Encoder(kernels, precision));
  if (made == nullptr) return OutOfMemory();
  made->width_ = d;
  made->heads_ = w.heads;
  made->head_width_ = d / w.heads;
  made->hidden_width_ = f;
  made->max_history_ = w.max_history;
  Status status = made->SetItems(w, pool);
  if (status.ok()) status = made->SetEvents(w);
  if (!status.ok()) return status;
  made->full_blocks_.resize(w.blocks.size() - 1);
  bool enough = Copy(w.norm_scale, &made->norm_.scale) && Copy(w.norm_offset, &made->norm_.offset);
  for (std::size_t i = 0; i + 1 < w.blocks.size(); ++i) {
    enough = enough && made->SetFull(w.blocks[i], &made->full_blocks_[i]);
  }
  if (!enough || !made->SetLast(w.blocks.back())) return OutOfMemory();
  *encoder = std::move(made);
  return Status::Ok();
}

/// Checks the tables of item features and makes item_table_: W_item (id + weighted categories + advertiser + price).
///
/// One row an item and for good, because the sum and its projection are the same in every event of the item: a twelfth
/// of the multiplications of an event goes, and the tables of a catalogue need not stay in memory. A million items of
/// width 64 take 8 GFLOP once and the 256 MB that their ids alone took.
Status Encoder::SetItems(const EncoderWeightViews& w, ThreadPool& pool) {
  const std::size_t d = width_;
  Status status = CheckTable(*kernels_, "itemTable", w.item_table, d, &items_);
  if (!status.ok()) return status;
  if (w.has_categories) {
    std::size_t categories = 0;
    status = CheckTable(*kernels_, "categories.table", w.category_table, d, &categories);
    if (status.ok()) status = CheckLength("categories.offsets", w.category_offsets, items_ + 1);
    if (status.ok()) status = CheckOffsets("categories.offsets", w.category_offsets);
    if (!status.ok()) return status;
    const std::size_t terms = static_cast<std::size_t>(w.category_offsets.data[items_]);
    status = CheckLength("categories.rows", w.category_rows, terms);
    if (status.ok()) status = CheckRows("categories.rows", w.category_rows, terms, categories);
    if (status.ok()) {
      status = CheckField(
          *kernels_, {"categories.weights", w.category_weights, terms, "(categories.offsets[N])"});
    }
    if (!status.ok()) return status;
  }
  struct Feature {
    bool has;
    const char* table_name;
    const char* rows_name;
    const FloatView& table;
    const Int32View& rows;
  };
  const Feature features[] = {
      {w.has_advertisers, "advertisers.table", "advertisers.rows", w.advertiser_table,
       w.advertiser_rows},
      {w.has_prices, "prices.table", "prices.rows", w.price_table, w.price_rows},
  };
  for (const Feature& feature : features) {
    if (!feature.has) continue;
    std::size_t rows = 0;
    status = CheckTable(*kernels_, feature.table_name, feature.table, d, &rows);
    if (status.ok()) status = CheckLength(feature.rows_name, feature.rows, items_);
    if (status.ok()) status = CheckRows(feature.rows_name, feature.rows, items_, rows);
    if (!status.ok()) return status;
  }

  // In f32 whatever the precision: rounding here would buy nothing.
  Linear projection;
  if (!item_table_.Reserve(items_ * d) ||
      !projection.Pack(*kernels_, Precision::kF32, w.input_weight.data, d + w.action_width, true, d,
                       d, nullptr)) {
    return OutOfMemory();
  }
  std::vector<AlignedBuffer> inputs(pool.size());
  for (AlignedBuffer& buffer : inputs) {
    if (!buffer.Reserve(Linear::kRows * d)) return OutOfMemory();
  }
  const std::size_t groups = (items_ + Linear::kRows - 1) / Linear::kRows;
  pool.ParallelFor(groups, [&](std::size_t group, std::size_t worker) {
    const std::size_t begin = group * Linear::kRows;
    const std::size_t end = std::min(items_, begin + Linear::kRows);
    float* rows = inputs[worker].data();
    std::memcpy(rows, w.item_table.data + begin * d, (end - begin) * d * sizeof(float));
    for (std::size_t item = begin; item < end; ++item) {
      float* row = rows + (item - begin) * d;
      if (w.has_categories) {
        for (std::int32_t i = w.category_offsets.data[item]; i < w.category_offsets.data[item + 1];
             ++i) {
          kernels_->axpy(w.category_weights.data[i],
                         RowOf(w.category_table, w.category_rows.data[i], d), d, row);
        }
      }
      for (const Feature& feature : features) {
        if (feature.has)
          kernels_->axpy(1.0f, RowOf(feature.table, feature.rows.data[item], d), d, row);
      }
    }
    AlignedBuffer no_scratch;
    projection.Apply(*kernels_, rows, d, end - begin, Into::kOverwrite,
                     item_table_.data() + begin * d, d, no_scratch);
  });
  return Status::Ok();
}

/// W [item ; action] + b = W_item item + (W_action action + b): the second half is one row for each action, made here.
Status Encoder::SetEvents(const EncoderWeightViews& w) {
  const std::size_t d = width_;
  const std::size_t a = w.action_width;
  Status status = CheckTable(*kernels_, "actionTable", w.action_table, a, &actions_);
  if (status.ok()) status = CheckTable(*kernels_, "gapTable", w.gap_table, d, &gaps_);
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
  // The scale of the scores, taken once instead of for each of them.
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
    // The bias of the keys adds the same to every score of a query, which a softmax does not see.
    if (!made.keys[head].Pack(*kernels_, precision_, block.key_weight.data + first * d, d, false,
                              head_width_, d, nullptr) ||
        !made.values[head].Pack(*kernels_, precision_, block.value_weight.data + first * d, d, true,
                                d, head_width_, block.value_bias.data + first)) {
      return false;
    }
  }
  return SetTail(block, &made.tail);
}

Status Encoder::CheckBatch(const HistoryViews& batch, std::size_t out_size) const {
  if (out_size != batch.count * width_) {
    return Status::OutOfRange("Expected length " + std::to_string(batch.count * width_) +
                              " [B, D] for out, received length " + std::to_string(out_size) + ".");
  }
  Status status = CheckLength("offsets", batch.offsets, batch.count + 1);
  if (status.ok()) status = CheckOffsets("offsets", batch.offsets);
  if (!status.ok()) return status;
  for (std::size_t user = 0; user < batch.count; ++user) {
    if (LengthOf(batch, user) <= max_history_) continue;
    return Status::OutOfRange("Expected at most " + std::to_string(max_history_) +
                              " events (maxHistory) a user, received " +
                              std::to_string(LengthOf(batch, user)) + " for user " +
                              std::to_string(user) + ". Keep the newest ones.");
  }
  const std::size_t tokens = static_cast<std::size_t>(batch.offsets.data[batch.count]);
  status = CheckLength("items", batch.items, tokens);
  if (status.ok()) status = CheckLength("actions", batch.actions, tokens);
  if (status.ok()) status = CheckLength("gaps", batch.gaps, tokens);
  if (status.ok()) status = CheckRows("items", batch.items, tokens, items_);
  if (status.ok()) status = CheckRows("actions", batch.actions, tokens, actions_);
  if (status.ok()) status = CheckRows("gaps", batch.gaps, tokens, gaps_);
  return status;
}

/// Cuts the batch into ranges of whole users: of at most kRangeTokens events, and enough of them for every thread.
void Encoder::Split(const HistoryViews& batch, std::size_t threads) {
  const std::size_t tokens = static_cast<std::size_t>(batch.offsets.data[batch.count]);
  const std::size_t share = (tokens + 2 * threads - 1) / (2 * threads);
  const std::size_t most =
      std::min(kRangeTokens, std::max(kMinRangeTokens, threads == 1 ? tokens : share));
  ranges_.clear();
  std::size_t begin = 0;
  std::size_t held = 0;
  for (std::size_t user = 0; user < batch.count; ++user) {
    const std::size_t length = LengthOf(batch, user);
    if (held > 0 && held + length > most) {
      ranges_.push_back({begin, user});
      begin = user;
      held = 0;
    }
    held += length;
  }
  if (held > 0) ranges_.push_back({begin, batch.count});
}

bool Encoder::ReserveWorker(Worker* w) const {
  const std::size_t d = width_;
  const std::size_t tokens = std::max(kRangeTokens, max_history_);
  // A user of a range has at least one event of its kRangeTokens.
  const std::size_t users = kRangeTokens;
  const std::size_t widest = std::max(d, hidden_width_);
  return w->x.Reserve(tokens * d) && w->normed.Reserve(tokens * d) &&
         w->projected.Reserve(full_blocks_.empty() ? 0 : tokens * 3 * d) &&
         w->hidden.Reserve(Linear::kRows * hidden_width_) &&
         w->keys.Reserve(PackedSize(*kernels_, head_width_, max_history_)) &&
         w->scores.Reserve(std::max(kQueryRows, heads_) * max_history_) &&
         w->last_x.Reserve(users * d) && w->last_normed.Reserve(users * d) &&
         w->queries.Reserve(users * d) && w->absorbed.Reserve(users * heads_ * d) &&
         w->rounded.Reserve(Linear::ScratchSize(precision_, widest));
}

Status Encoder::Encode(const HistoryViews& batch, ThreadPool& pool, float* out,
                       std::size_t out_size) {
  const Status status = CheckBatch(batch, out_size);
  if (!status.ok()) return status;
  if (out_size > 0) std::memset(out, 0, out_size * sizeof(float));
  try {
    Split(batch, pool.size());
    if (workers_.size() < pool.size()) workers_.resize(pool.size());
  } catch (const std::exception&) {
    return OutOfMemory();
  }
  std::atomic<bool> enough{true};
  std::atomic<std::size_t> bad_user{batch.count};
  pool.ParallelFor(ranges_.size(), [&](std::size_t task, std::size_t worker) {
    if (!EncodeUsers(batch, ranges_[task], workers_[worker], out, &bad_user)) enough = false;
  });
  if (!enough) return OutOfMemory();
  if (bad_user != batch.count) {
    return Status::NonFinite("Expected a finite state, received NaN or Inf for user " +
                             std::to_string(bad_user) +
                             ". The encoder's weights are too large for f32: train again.");
  }
  return Status::Ok();
}

/// All layers for one range of users. False when memory is short.
bool Encoder::EncodeUsers(const HistoryViews& batch, const UserRange& users, Worker& worker,
                          float* out, std::atomic<std::size_t>* bad_user) const {
  if (!ReserveWorker(&worker)) return false;
  WriteInputs(batch, users, worker.x.data());
  for (const FullBlock& block : full_blocks_) RunFull(block, batch, users, worker);

  std::size_t user_count = 0;
  for (std::size_t user = users.begin; user < users.end; ++user) {
    if (LengthOf(batch, user) > 0) ++user_count;
  }
  RunLast(batch, users, user_count, worker);

  const float* state = worker.last_x.data();
  for (std::size_t user = users.begin; user < users.end; ++user) {
    if (LengthOf(batch, user) == 0) continue;
    float* row = out + user * width_;
    Normalise(norm_, state, 1, row);
    state += width_;
    if (kernels_->all_finite(row, width_)) continue;
    std::size_t first = bad_user->load();
    while (user < first && !bad_user->compare_exchange_weak(first, user)) {
    }
  }
  return true;
}

/// x [tokens, D] = W [item ; action] + b + gap + position.
void Encoder::WriteInputs(const HistoryViews& batch, const UserRange& users, float* x) const {
  const std::size_t d = width_;
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t end = static_cast<std::size_t>(batch.offsets.data[user + 1]);
    for (std::size_t i = end - LengthOf(batch, user); i < end; ++i, x += d) {
      const float* item = RowOf(item_table_, batch.items.data[i], d);
      const float* action = RowOf(action_table_, batch.actions.data[i], d);
      const float* gap = RowOf(gap_table_, batch.gaps.data[i], d);
      const float* position = position_table_.data() + (max_history_ - (end - i)) * d;
      for (std::size_t j = 0; j < d; ++j) x[j] = item[j] + action[j] + gap[j] + position[j];
    }
  }
}

void Encoder::Normalise(const Norm& norm, const float* x, std::size_t rows, float* out) const {
  kernels_->layer_norm(x, width_, rows, width_, norm.scale.data(), norm.offset.data(), kNormEpsilon,
                       out, width_);
}

void Encoder::RunFull(const FullBlock& block, const HistoryViews& batch, const UserRange& users,
                      Worker& worker) const {
  const std::size_t d = width_;
  const std::size_t tokens =
      static_cast<std::size_t>(batch.offsets.data[users.end] - batch.offsets.data[users.begin]);
  float* x = worker.x.data();
  float* normed = worker.normed.data();
  float* projected = worker.projected.data();
  Normalise(block.attention_norm, x, tokens, normed);
  block.query_key_value.Apply(*kernels_, normed, d, tokens, Into::kOverwrite, projected, 3 * d,
                              worker.rounded);
  // The normed rows are used up: their place takes what attention gives.
  std::size_t row = 0;
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t length = LengthOf(batch, user);
    if (length > 0) Attend(projected + row * 3 * d, length, worker, normed + row * d);
    row += length;
  }
  RunTail(block.tail, normed, tokens, worker, x);
}

/// Causal attention of one user: projected [length, 3 D] to out [length, D].
///
/// Queries go in blocks of kQueryRows, each against the keys up to its last row, so about half of the scores are never
/// computed. What a row sees of its own block's future is weighted with 0.
void Encoder::Attend(const float* projected, std::size_t length, Worker& worker, float* out) const {
  const std::size_t d = width_;
  const std::size_t stride = 3 * d;
  const ptrdiff_t tile = static_cast<ptrdiff_t>(kernels_->column_tile);
  float* scores = worker.scores.data();
  for (std::size_t head = 0; head < heads_; ++head) {
    const float* query = projected + head * head_width_;
    const float* key = query + d;
    const float* value = key + d;
    PackPanels(*kernels_, key, stride, true, head_width_, length, worker.keys.data());
    for (std::size_t first = 0; first < length; first += kQueryRows) {
      const std::size_t rows = std::min(kQueryRows, length - first);
      const std::size_t seen = first + rows;
      GemmBlock score = {};
      score.a = query + first * stride;
      score.a_row_stride = static_cast<ptrdiff_t>(stride);
      score.a_k_stride = 1;
      score.b = worker.keys.data();
      score.b_k_stride = tile;
      score.b_panel_stride = tile * static_cast<ptrdiff_t>(head_width_);
      score.m = rows;
      score.n = seen;
      score.k = head_width_;
      score.c = scores;
      score.c_row_stride = static_cast<ptrdiff_t>(max_history_);
      kernels_->gemm(score);
      kernels_->softmax_causal(scores, max_history_, rows, first);
      GemmBlock mix = {};
      mix.a = scores;
      mix.a_row_stride = static_cast<ptrdiff_t>(max_history_);
      mix.a_k_stride = 1;
      mix.b = value;
      mix.b_k_stride = static_cast<ptrdiff_t>(stride);
      mix.b_panel_stride = tile;
      mix.m = rows;
      mix.n = head_width_;
      mix.k = seen;
      mix.c = out + first * d + head * head_width_;
      mix.c_row_stride = static_cast<ptrdiff_t>(d);
      kernels_->gemm(mix);
    }
  }
}

/// The last block, for the newest event of each user: into last_x [users, D].
///
/// Nobody reads its other rows, so queries, attention output and feed-forward are computed for one row a user. Keys and
/// values would be needed of every event, 2 D^2 multiplications each, but a single query lets both matrices move to its
/// side: q . (K n) = (K^T q) . n, and sum p (V n) = V (sum p n). That leaves 2 heads D for each event, whose only row is
/// the normed one. With two blocks, 100 events and D = 64 all this together halves the encoder's multiplications.
void Encoder::RunLast(const HistoryViews& batch, const UserRange& users, std::size_t user_count,
                      Worker& worker) const {
  const std::size_t d = width_;
  const std::size_t tokens =
      static_cast<std::size_t>(batch.offsets.data[users.end] - batch.offsets.data[users.begin]);
  const ptrdiff_t tile = static_cast<ptrdiff_t>(kernels_->column_tile);
  const std::size_t absorbed_stride = heads_ * d;
  float* normed = worker.normed.data();
  float* last_x = worker.last_x.data();
  float* last_normed = worker.last_normed.data();
  float* queries = worker.queries.data();
  float* absorbed = worker.absorbed.data();
  float* scores = worker.scores.data();
  const LastBlock& block = last_block_;
  Normalise(block.attention_norm, worker.x.data(), tokens, normed);

  std::size_t last = 0;
  std::size_t row = 0;
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t length = LengthOf(batch, user);
    row += length;
    if (length == 0) continue;
    std::memcpy(last_x + last * d, worker.x.data() + (row - 1) * d, d * sizeof(float));
    std::memcpy(last_normed + last * d, normed + (row - 1) * d, d * sizeof(float));
    ++last;
  }
  block.query.Apply(*kernels_, last_normed, d, user_count, Into::kOverwrite, queries, d,
                    worker.rounded);
  for (std::size_t head = 0; head < heads_; ++head) {
    block.keys[head].Apply(*kernels_, queries + head * head_width_, d, user_count, Into::kOverwrite,
                           absorbed + head * d, absorbed_stride, worker.rounded);
  }

  last = 0;
  row = 0;
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t length = LengthOf(batch, user);
    if (length == 0) continue;
    float* mine = absorbed + last * absorbed_stride;
    kernels_->dot_block(mine, d, heads_, normed + row * d, d, length, d, scores, max_history_);
    for (std::size_t head = 0; head < heads_; ++head) {
      float* weights = scores + head * max_history_;
      kernels_->softmax_row(weights, length, weights);
    }
    GemmBlock mix = {};
    mix.a = scores;
    mix.a_row_stride = static_cast<ptrdiff_t>(max_history_);
    mix.a_k_stride = 1;
    mix.b = normed + row * d;
    mix.b_k_stride = static_cast<ptrdiff_t>(d);
    mix.b_panel_stride = tile;
    mix.m = heads_;
    mix.n = d;
    mix.k = length;
    mix.c = mine;
    mix.c_row_stride = static_cast<ptrdiff_t>(d);
    kernels_->gemm(mix);
    row += length;
    ++last;
  }
  // The queries are used up: their place takes what attention gives.
  for (std::size_t head = 0; head < heads_; ++head) {
    block.values[head].Apply(*kernels_, absorbed + head * d, absorbed_stride, user_count,
                             Into::kOverwrite, queries + head * head_width_, d, worker.rounded);
  }
  RunTail(block.tail, queries, user_count, worker, last_x);
}

/// x += W attended + b; x += FFN(norm(x)). In groups of rows that stay in L1 and L2 from the first product to the last.
void Encoder::RunTail(const BlockTail& tail, const float* attended, std::size_t rows,
                      Worker& worker, float* x) const {
  const std::size_t d = width_;
  float* hidden = worker.hidden.data();
  float* normed = worker.last_normed.data();
  for (std::size_t first = 0; first < rows; first += Linear::kRows) {
    const std::size_t m = std::min(Linear::kRows, rows - first);
    float* group = x + first * d;
    tail.attention_output.Apply(*kernels_, attended + first * d, d, m, Into::kAdd, group, d,
                                worker.rounded);
    Normalise(tail.feed_forward_norm, group, m, normed);
    tail.feed_forward.Apply(*kernels_, normed, d, m, Into::kOverwriteRelu, hidden, hidden_width_,
                            worker.rounded);
    tail.feed_forward_output.Apply(*kernels_, hidden, hidden_width_, m, Into::kAdd, group, d,
                                   worker.rounded);
  }
}

}  // namespace tandem
