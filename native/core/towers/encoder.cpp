// The forward pass of the history encoder over packed sequences: which rows are computed, in which
// order, and by which thread.
//
// A thread takes a range of users through all layers, so no thread waits for another between
// layers, and everything a thread touches stays in its L2. Histories lie one after the other
// without padding: a dense layer sees them as one tall matrix.

#include "core/towers/encoder.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>

#include "core/runtime/view_checks.h"

namespace tandem {
namespace {

/// Events in a range of users, unless a single history is longer. Activations of 256 x 64 x 5
/// floats are 320 KiB.
constexpr std::size_t kRangeTokens = 256;
/// Fewer events are not worth a thread: the weights would pass through the cache for too few rows.
constexpr std::size_t kMinRangeTokens = 64;
/// Queries that attend together: a multiple of every row tile, and small against a history, so that
/// few scores of the future are computed and thrown away.
constexpr std::size_t kQueryRows = 24;
/// Item rows are prefetched this many events ahead.
constexpr std::size_t kEventsAhead = 8;
/// The same value as in the layers of src/model/network.
constexpr float kNormEpsilon = 1e-5f;

using Into = Linear::Into;

Status OutOfMemory() { return Status::Internal("Out of memory for the history encoder."); }

const float* RowOf(const AlignedBuffer& table, std::int32_t row, std::size_t width) {
  return table.data() + static_cast<std::size_t>(row) * width;
}

std::size_t LengthOf(const HistoryViews& batch, std::size_t user) {
  return static_cast<std::size_t>(batch.offsets.data[user + 1] - batch.offsets.data[user]);
}

}  // namespace

Status Encoder::CheckBatch(const HistoryViews& batch, std::size_t out_size) const {
  Status status = CheckOffsets("offsets", batch.offsets, batch.count, "[B + 1]");
  if (!status.ok()) return status;
  const std::size_t tokens = static_cast<std::size_t>(batch.offsets.data[batch.count]);
  status = rows_ == StateRows::kAll
               ? CheckLength("out", tokens * width_, "[offsets[B], D]", out_size)
               : CheckLength("out", batch.count * width_, "[B, D]", out_size);
  if (!status.ok()) return status;
  for (std::size_t user = 0; user < batch.count; ++user) {
    if (LengthOf(batch, user) <= max_history_) continue;
    return Status::OutOfRange("Expected at most " + std::to_string(max_history_) +
                              " events (maxHistory) a user, received " +
                              std::to_string(LengthOf(batch, user)) + " for user " +
                              std::to_string(user) + ". Keep the newest ones.");
  }
  status = CheckLength("items", tokens, "[offsets[B]]", batch.items.size);
  if (status.ok()) status = CheckLength("actions", tokens, "[offsets[B]]", batch.actions.size);
  if (status.ok()) status = CheckLength("gaps", tokens, "[offsets[B]]", batch.gaps.size);
  if (status.ok()) status = CheckRows("items", batch.items, tokens, items_);
  if (status.ok()) status = CheckRows("actions", batch.actions, tokens, actions_);
  if (status.ok()) status = CheckRows("gaps", batch.gaps, tokens, gaps_);
  return status;
}

/// Cuts the batch into ranges of whole users. A range has at most kRangeTokens events, and there
/// are enough ranges for every thread.
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
  // Every user in a range has at least one of its kRangeTokens events.
  const std::size_t users = kRangeTokens;
  const std::size_t widest = std::max(d, hidden_width_);
  return w->x.Reserve(tokens * d) && w->normed.Reserve(tokens * d) &&
         w->projected.Reserve(full_blocks_.empty() ? 0 : tokens * 3 * d) &&
         w->hidden.Reserve(Linear::kRows * hidden_width_) &&
         w->keys.Reserve(PackedSize(*kernels_, head_width_, max_history_)) &&
         w->scores.Reserve(std::max(kQueryRows, heads_) * max_history_) &&
         w->last_x.Reserve(users * d) && w->last_normed.Reserve(users * d) &&
         w->queries.Reserve(users * d) && w->absorbed.Reserve(users * heads_ * d) &&
         w->rounded.Reserve(Linear::ScratchSize(precision_, widest)) && w->sum.Reserve(d);
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

/// Runs all layers for one range of users. False when memory is short.
bool Encoder::EncodeUsers(const HistoryViews& batch, const UserRange& users, Worker& worker,
                          float* out, std::atomic<std::size_t>* bad_user) const {
  if (!ReserveWorker(&worker)) return false;
  WriteInputs(batch, users, worker.x.data());
  for (const FullBlock& block : full_blocks_) RunFull(block, batch, users, worker);

  const bool all = rows_ == StateRows::kAll;
  if (!all) RunLast(batch, users, worker);

  const float* x = all ? worker.x.data() : worker.last_x.data();
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t length = LengthOf(batch, user);
    if (length == 0) continue;
    const std::size_t rows = all ? length : 1;
    float* state = out + (all ? static_cast<std::size_t>(batch.offsets.data[user]) : user) * width_;
    Normalise(norm_, x, rows, state);
    x += rows * width_;
    if (mean_table_.size() > 0) AddMeans(batch, user, rows, worker, state);
    if (kernels_->all_finite(state, rows * width_)) continue;
    std::size_t first = bad_user->load();
    while (user < first && !bad_user->compare_exchange_weak(first, user)) {
    }
  }
  return true;
}

/// x [tokens, D] = W [item ; action] + b + gap + position.
void Encoder::WriteInputs(const HistoryViews& batch, const UserRange& users, float* x) const {
  const std::size_t d = width_;
  const std::size_t last = static_cast<std::size_t>(batch.offsets.data[users.end]);
  const float ones[] = {1.0f, 1.0f, 1.0f, 1.0f};
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t end = static_cast<std::size_t>(batch.offsets.data[user + 1]);
    for (std::size_t i = end - LengthOf(batch, user); i < end; ++i, x += d) {
      // The rows of items are spread over a table that no cache holds.
      if (i + kEventsAhead < last) {
        const float* ahead = RowOf(item_table_, batch.items.data[i + kEventsAhead], d);
        for (std::size_t j = 0; j < d; j += 16) __builtin_prefetch(ahead + j);
      }
      const float* rows[] = {RowOf(item_table_, batch.items.data[i], d),
                             RowOf(action_table_, batch.actions.data[i], d),
                             RowOf(gap_table_, batch.gaps.data[i], d),
                             position_table_.data() + (max_history_ - (end - i)) * d};
      kernels_->bag(rows, ones, 4, d, false, false, x);
    }
  }
}

/// Adds the mean of the items so far to each of the last `rows` states of a user: a running sum of
/// the items' projected rows.
void Encoder::AddMeans(const HistoryViews& batch, std::size_t user, std::size_t rows,
                       Worker& worker, float* states) const {
  const std::size_t d = width_;
  const std::size_t length = LengthOf(batch, user);
  const std::int32_t* items = batch.items.data + batch.offsets.data[user];
  float* sum = worker.sum.data();
  std::memset(sum, 0, d * sizeof(float));
  for (std::size_t t = 0; t < length; ++t) {
    kernels_->axpy(1.0f, RowOf(mean_table_, items[t], d), d, sum);
    if (t + rows < length) continue;
    kernels_->axpy(1.0f / static_cast<float>(t + 1), sum, d, states);
    states += d;
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
  // The normed rows are not needed any more, so their memory takes the output of attention.
  std::size_t row = 0;
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t length = LengthOf(batch, user);
    if (length > 0) Attend(projected + row * 3 * d, length, worker, normed + row * d);
    row += length;
  }
  RunTail(block.tail, normed, tokens, worker, x);
}

/// Causal attention of one user, from projected [length, 3 D] to out [length, D].
///
/// Queries go in blocks of kQueryRows, each against the keys up to the last row of the block, so
/// about half of the scores are never computed. The scores of the future within a block get weight
/// 0.
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

/// Runs the last block for the newest event of each user, into last_x [users, D].
///
/// Nobody reads the other rows, so queries, attention output and feed-forward are computed for one
/// row of each user. Keys and values of every event would cost 2 D^2 multiplications an event. With
/// a single query, both matrices can be applied on the side of the query instead:
/// q . (K n) = (K^T q) . n, and sum p (V n) = V (sum p n). That leaves 2 heads D multiplications
/// for each event, and only its normed row is read. With two blocks, 100 events and D = 64, this
/// halves the encoder's multiplications.
void Encoder::RunLast(const HistoryViews& batch, const UserRange& users, Worker& worker) const {
  const std::size_t d = width_;
  const std::size_t tokens =
      static_cast<std::size_t>(batch.offsets.data[users.end] - batch.offsets.data[users.begin]);
  const std::size_t absorbed_stride = heads_ * d;
  float* queries = worker.queries.data();
  float* absorbed = worker.absorbed.data();
  const LastBlock& block = last_block_;
  Normalise(block.attention_norm, worker.x.data(), tokens, worker.normed.data());
  const std::size_t user_count = TakeNewest(batch, users, worker);
  block.query.Apply(*kernels_, worker.last_normed.data(), d, user_count, Into::kOverwrite, queries,
                    d, worker.rounded);
  for (std::size_t head = 0; head < heads_; ++head) {
    block.keys[head].Apply(*kernels_, queries + head * head_width_, d, user_count, Into::kOverwrite,
                           absorbed + head * d, absorbed_stride, worker.rounded);
  }
  AttendNewest(batch, users, worker);
  // The queries are not needed any more, so their memory takes the output of attention.
  for (std::size_t head = 0; head < heads_; ++head) {
    block.values[head].Apply(*kernels_, absorbed + head * d, absorbed_stride, user_count,
                             Into::kOverwrite, queries + head * head_width_, d, worker.rounded);
  }
  RunTail(block.tail, queries, user_count, worker, worker.last_x.data());
}

/// Copies the newest row of each user to last_x and last_normed. Returns how many users have one.
std::size_t Encoder::TakeNewest(const HistoryViews& batch, const UserRange& users,
                                Worker& worker) const {
  const std::size_t d = width_;
  std::size_t last = 0;
  std::size_t row = 0;
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t length = LengthOf(batch, user);
    row += length;
    if (length == 0) continue;
    std::memcpy(worker.last_x.data() + last * d, worker.x.data() + (row - 1) * d,
                d * sizeof(float));
    std::memcpy(worker.last_normed.data() + last * d, worker.normed.data() + (row - 1) * d,
                d * sizeof(float));
    ++last;
  }
  return last;
}

/// Replaces each user's absorbed queries [heads, D] by the rows that they attend to, summed by
/// attention weight.
void Encoder::AttendNewest(const HistoryViews& batch, const UserRange& users,
                           Worker& worker) const {
  const std::size_t d = width_;
  float* const scores = worker.scores.data();
  float* absorbed = worker.absorbed.data();
  const float* normed = worker.normed.data();
  for (std::size_t user = users.begin; user < users.end; ++user) {
    const std::size_t length = LengthOf(batch, user);
    if (length == 0) continue;
    kernels_->dot_block(absorbed, d, heads_, normed, d, length, d, scores, max_history_);
    for (std::size_t head = 0; head < heads_; ++head) {
      float* weights = scores + head * max_history_;
      kernels_->softmax_row(weights, length, weights);
    }
    GemmBlock mix = {};
    mix.a = scores;
    mix.a_row_stride = static_cast<ptrdiff_t>(max_history_);
    mix.a_k_stride = 1;
    mix.b = normed;
    mix.b_k_stride = static_cast<ptrdiff_t>(d);
    mix.b_panel_stride = static_cast<ptrdiff_t>(kernels_->column_tile);
    mix.m = heads_;
    mix.n = d;
    mix.k = length;
    mix.c = absorbed;
    mix.c_row_stride = static_cast<ptrdiff_t>(d);
    kernels_->gemm(mix);
    normed += length * d;
    absorbed += heads_ * d;
  }
}

/// x += W attended + b; x += FFN(norm(x)). Works in groups of rows that stay in L1 and L2 from the
/// first product to the last.
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
