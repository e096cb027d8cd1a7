// Takes a micro-batch through the head: its checks, and the order of the products for a block of
// requests. Shapes are in docs/explanation/model.md.

#include "core/towers/head.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>
#include <string>

#include "core/runtime/thread_pool.h"
#include "core/runtime/view_checks.h"
#include "core/towers/unit_row.h"

namespace tandem {
namespace {

constexpr std::size_t kMaxRequests = 1 << 16;
/// Requests whose rows stay in cache from product to product. A thread takes one such block at a
/// time.
constexpr std::size_t kBlock = 32;
/// From this many blocks on, the pool shares the work. A block takes about 35 microseconds; with
/// fewer blocks the caller finishes alone, because a worker may have lost its CPU and the caller
/// would wait for it.
constexpr std::size_t kParallelBlocks = 4;
/// Terms of a bag for one call of the kernel.
constexpr std::size_t kTerms = 64;

Status OutOfMemory() { return Status::Internal("Out of memory for the head."); }

}  // namespace

Status Head::CheckBatch(const HeadBatchViews& batch, std::size_t out_size) const {
  const std::size_t b = batch.count;
  const std::size_t d = embedding_width_;
  if (b > kMaxRequests) {
    return Status::OutOfRange("Expected at most 65536 requests for count, received " +
                              std::to_string(b) + ".");
  }
  Status status = CheckLength("out", b * d, "[B, D]", out_size);
  if (!status.ok()) return status;
  if (fusion_ == HeadFusion::kAttention) {
    status = CheckOffsets("sequenceOffsets", batch.sequence_offsets, b, "[B + 1]");
    if (!status.ok()) return status;
    const std::size_t rows = static_cast<std::size_t>(batch.sequence_offsets.data[b]);
    status =
        CheckLength("sequenceRows", rows * d, "[sequenceOffsets[B], D]", batch.sequence_rows.size);
  } else {
    status = CheckLength("states", b * d, "[B, D]", batch.states.size);
    if (status.ok()) status = CheckLength("hasState", b, "[B]", batch.has_state.size);
  }
  if (!status.ok() || fusion_ == HeadFusion::kNone) return status;
  return CheckContext(batch);
}

Status Head::CheckContext(const HeadBatchViews& batch) const {
  const std::size_t b = batch.count;
  Status status = CheckLength("stateAge", b, "[B]", batch.state_age.size);
  if (status.ok()) status = CheckLength("demographics", 3 * b, "[B, 3]", batch.demographics.size);
  if (status.ok()) status = CheckOffsets("subjectOffsets", batch.subject_offsets, b, "[B + 1]");
  if (!status.ok()) return status;

  const std::size_t terms = static_cast<std::size_t>(batch.subject_offsets.data[b]);
  if (batch.subject_rows.size < terms || batch.subject_weights.size < terms) {
    return Status::OutOfRange("Expected " + std::to_string(terms) +
                              " entries (subjectOffsets[B]) in subjectRows and subjectWeights, "
                              "received " +
                              std::to_string(batch.subject_rows.size) + " and " +
                              std::to_string(batch.subject_weights.size) + ".");
  }
  status = CheckRows("subjectRows", batch.subject_rows, terms, subjects_);
  if (!status.ok()) return status;
  for (std::size_t i = 0; i < terms; ++i) {
    const float weight = batch.subject_weights.data[i];
    if (!(weight >= 0.0f) || !std::isfinite(weight)) {
      return Status::OutOfRange("Expected finite weights >= 0 in subjectWeights, received " +
                                std::to_string(weight) + " at " + std::to_string(i) + ".");
    }
  }
  for (std::size_t i = 0; i < 3 * b; ++i) {
    const std::int32_t row = batch.demographics.data[i];
    if (row < 0 || static_cast<std::size_t>(row) >= demographic_rows_[i % 3]) {
      return Status::OutOfRange("Expected rows below " + std::to_string(demographic_rows_[i % 3]) +
                                " of " + kDemographicTables[i % 3] + " in demographics, received " +
                                std::to_string(row) + " at " + std::to_string(i) + ".");
    }
  }
  if (items_ == 0) return status;
  status = CheckLength("subjectItems", b, "[B]", batch.subject_items.size);
  for (std::size_t i = 0; i < b && status.ok(); ++i) {
    const std::int32_t row = batch.subject_items.data[i];
    if (row >= -1 && row < static_cast<std::int64_t>(items_)) continue;
    status = Status::OutOfRange("Expected rows from 0 to " + std::to_string(items_ - 1) +
                                ", or -1 for none, in subjectItems, received " +
                                std::to_string(row) + " at " + std::to_string(i) + ".");
  }
  return status;
}

/// Scratch of the threads that share a micro-batch. The calling thread keeps it for its heads of
/// all shapes.
struct Head::Scratch {
  std::unique_ptr<Worker[]> workers;
  std::size_t count = 0;
};

bool Head::Reserve(Scratch* scratch, std::size_t workers, std::size_t block,
                   std::size_t longest) const {
  if (workers > scratch->count) {
    scratch->workers.reset(new (std::nothrow) Worker[workers]);
    scratch->count = scratch->workers == nullptr ? 0 : workers;
    if (scratch->workers == nullptr) return false;
  }
  const bool attention = fusion_ == HeadFusion::kAttention;
  const std::size_t queries = attention ? block * heads_ * embedding_width_ : 0;
  const std::size_t widest = std::max({row_width_, subject_width_, heads_ * embedding_width_});
  for (std::size_t i = 0; i < workers; ++i) {
    Worker& worker = scratch->workers[i];
    if (!worker.rows.Reserve(block * row_width_) ||
        !worker.subjects.Reserve(subject_table_.multiplied ? 0 : block * subject_width_) ||
        !worker.items.Reserve(item_table_.multiplied ? 0 : block * embedding_width_) ||
        !worker.queries.Reserve(queries) || !worker.sums.Reserve(queries) ||
        !worker.scores.Reserve(attention ? heads_ * longest : 0) ||
        !worker.rounded.Reserve(Linear::ScratchSize(precision_, widest))) {
      return false;
    }
  }
  return true;
}

/// Writes context [F]: the sum of the request's rows in multiplied tables, with the relu applied
/// when nothing else is added. Rows that it looks up in other tables go to subject [E] and item
/// [D]. The indices were checked.
void Head::WriteContext(const HeadBatchViews& batch, std::size_t request, float* subject,
                        float* item, float* context) const {
  const float* rows[kTerms];
  float weights[kTerms];
  std::size_t used = 0;
  for (; used < 3; ++used) {
    const std::size_t row = static_cast<std::size_t>(batch.demographics.data[3 * request + used]);
    rows[used] = demographic_tables_[used].data() + row * context_width_;
    weights[used] = 1.0f;
  }
  const std::int32_t viewed = items_ == 0 ? -1 : batch.subject_items.data[request];
  const std::size_t item_row = viewed < 0 ? 0 : static_cast<std::size_t>(viewed);
  if (!item_table_.multiplied) {
    const std::size_t d = embedding_width_;
    std::memset(item, 0, d * sizeof(float));
    if (viewed >= 0) std::memcpy(item, item_table_.rows.data() + item_row * d, d * sizeof(float));
  } else if (viewed >= 0) {
    rows[used] = item_table_.rows.data() + item_row * context_width_;
    weights[used++] = 1.0f;
  }
  if (!subject_table_.multiplied) {
    kernels_->bag(rows, weights, used, context_width_, false, false, context);
    used = 0;
  }
  float* out = subject_table_.multiplied ? context : subject;
  const std::size_t n = subject_table_.multiplied ? context_width_ : subject_width_;
  const std::size_t begin = static_cast<std::size_t>(batch.subject_offsets.data[request]);
  const std::size_t end = static_cast<std::size_t>(batch.subject_offsets.data[request + 1]);
  float total = 0.0f;
  for (std::size_t i = begin; i < end; ++i) total += batch.subject_weights.data[i];
  bool accumulate = false;
  if (total > 0.0f) {
    for (std::size_t i = begin; i < end; ++i) {
      if (used == kTerms) {
        kernels_->bag(rows, weights, used, n, accumulate, false, out);
        accumulate = true;
        used = 0;
      }
      const std::size_t row = static_cast<std::size_t>(batch.subject_rows.data[i]);
      rows[used] = subject_table_.rows.data() + row * n;
      weights[used++] = batch.subject_weights.data[i] / total;
    }
  } else {
    rows[used] = subject_table_.rows.data() + subjects_ * n;
    weights[used++] = 1.0f;
  }
  kernels_->bag(rows, weights, used, n, accumulate, ContextIsSum(), out);
}

/// Writes the state, the age and the context of each request's row.
void Head::WriteInputs(const HeadBatchViews& batch, std::size_t first, std::size_t count,
                       Worker& worker) const {
  const bool attention = fusion_ == HeadFusion::kAttention;
  const std::size_t d = embedding_width_;
  const std::size_t state_at = hidden_width_ + (attention ? d : 0);
  float* const contexts = worker.rows.data() + state_at + d;
  float* const subjects = worker.subjects.data();
  float* const items = worker.items.data();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t request = first + i;
    float* row = worker.rows.data() + i * row_width_;
    const float* state = nullptr;
    if (attention) {
      const std::int32_t* offsets = batch.sequence_offsets.data + request;
      if (offsets[1] > offsets[0]) {
        state = batch.sequence_rows.data + (static_cast<std::size_t>(offsets[1]) - 1) * d;
      }
    } else if (batch.has_state.data[request] != 0) {
      state = batch.states.data + request * d;
    }
    std::memcpy(row + state_at, state == nullptr ? cold_start_.data() : state, d * sizeof(float));
    if (fusion_ == HeadFusion::kNone) continue;
    // The age of a missing state is 0, whatever the array holds.
    row[row_width_ - 1] = state == nullptr ? 0.0f : batch.state_age.data[request];
    WriteContext(batch, request,
                 subject_table_.multiplied ? nullptr : subjects + i * subject_width_,
                 item_table_.multiplied ? nullptr : items + i * d, contexts + i * row_width_);
  }
  if (fusion_ == HeadFusion::kNone || ContextIsSum()) return;
  if (!subject_table_.multiplied) {
    subject_table_.layer.Apply(*kernels_, subjects, subject_width_, count, Linear::Into::kAdd,
                               contexts, row_width_, worker.rounded);
  }
  if (!item_table_.multiplied) {
    item_table_.layer.Apply(*kernels_, items, d, count, Linear::Into::kAdd, contexts, row_width_,
                            worker.rounded);
  }
  for (std::size_t i = 0; i < count; ++i) {
    float* context = contexts + i * row_width_;
    kernels_->unary(UnaryOp::kRelu, context, context_width_, context);
  }
}

/// Writes the attended part of each request's row. For a user without states, the sequence consists
/// of the cold start alone.
void Head::Attend(const HeadBatchViews& batch, std::size_t first, std::size_t count,
                  Worker& worker) const {
  const std::size_t d = embedding_width_;
  const std::size_t width = heads_ * d;
  const ptrdiff_t tile = static_cast<ptrdiff_t>(kernels_->column_tile);
  float* const attended = worker.rows.data() + hidden_width_;
  float* const queries = worker.queries.data();
  float* const sums = worker.sums.data();
  float* const scores = worker.scores.data();
  score_layer_.Apply(*kernels_, attended + 2 * d, row_width_, count, Linear::Into::kOverwrite,
                     queries, width, worker.rounded);
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t* offsets = batch.sequence_offsets.data + first + i;
    std::size_t length = static_cast<std::size_t>(offsets[1] - offsets[0]);
    const float* states = cold_start_.data();
    if (length > 0) states = batch.sequence_rows.data + static_cast<std::size_t>(offsets[0]) * d;
    length = std::max<std::size_t>(length, 1);
    kernels_->dot_block(queries + i * width, d, heads_, states, d, length, d, scores, length);
    for (std::size_t head = 0; head < heads_; ++head) {
      kernels_->softmax_row(scores + head * length, length, scores + head * length);
    }
    GemmBlock block = {};
    block.a = scores;
    block.a_row_stride = static_cast<ptrdiff_t>(length);
    block.a_k_stride = 1;
    block.b = states;
    block.b_k_stride = static_cast<ptrdiff_t>(d);
    block.b_panel_stride = tile;
    block.m = heads_;
    block.n = d;
    block.k = length;
    block.c = sums + i * width;
    block.c_row_stride = static_cast<ptrdiff_t>(d);
    kernels_->gemm(block);
  }
  value_layer_.Apply(*kernels_, sums, width, count, Linear::Into::kOverwrite, attended, row_width_,
                     worker.rounded);
}

/// Returns the first request whose embedding has no direction, or first + count when there is none.
std::size_t Head::EmbedBlock(const HeadBatchViews& batch, std::size_t first, std::size_t count,
                             Worker& worker, float* out) const {
  const std::size_t d = embedding_width_;
  float* const rows = worker.rows.data();
  WriteInputs(batch, first, count, worker);
  if (fusion_ == HeadFusion::kAttention) Attend(batch, first, count, worker);
  hidden_layer_.Apply(*kernels_, rows + hidden_width_, row_width_, count,
                      Linear::Into::kOverwriteRelu, rows, row_width_, worker.rounded);
  output_layer_.Apply(*kernels_, rows, row_width_, count, Linear::Into::kOverwrite, out + first * d,
                      d, worker.rounded);
  for (std::size_t i = first; i < first + count; ++i) {
    if (!Normalise(*kernels_, out + i * d, d)) return i;
  }
  return first + count;
}

Status Head::Embed(const HeadBatchViews& batch, float* out, std::size_t out_size) const {
  const Status status = CheckBatch(batch, out_size);
  if (!status.ok()) return status;
  const std::size_t b = batch.count;
  const std::size_t d = embedding_width_;
  if (b == 0) return Status::Ok();
  std::size_t longest = 1;
  for (std::size_t i = 0; i < b && fusion_ == HeadFusion::kAttention; ++i) {
    const std::int32_t* offsets = batch.sequence_offsets.data + i;
    longest = std::max(longest, static_cast<std::size_t>(offsets[1] - offsets[0]));
  }
  const std::size_t blocks = (b + kBlock - 1) / kBlock;
  const std::size_t workers = blocks < kParallelBlocks ? 1 : ThreadPool::Shared().size();
  thread_local Scratch scratch;
  if (!Reserve(&scratch, workers, std::min(b, kBlock), longest)) return OutOfMemory();
  Worker* const mine = scratch.workers.get();

  std::atomic<std::size_t> refused{b};
  const auto embed = [&](std::size_t block, std::size_t worker) {
    const std::size_t first = block * kBlock;
    const std::size_t count = std::min(kBlock, b - first);
    const std::size_t stopped = EmbedBlock(batch, first, count, mine[worker], out);
    if (stopped == first + count) return;
    std::size_t seen = refused.load();
    while (stopped < seen && !refused.compare_exchange_weak(seen, stopped)) {
    }
  };
  if (workers == 1) {
    for (std::size_t block = 0; block < blocks; ++block) embed(block, 0);
  } else {
    ThreadPool::Shared().ParallelFor(blocks, embed);
  }
  const std::size_t request = refused.load();
  if (request == b) return Status::Ok();
  const float* row = out + request * d;
  const bool zero = std::all_of(row, row + d, [](float x) { return x == 0.0f; });
  return Status::NonFinite("Expected a finite query embedding with a direction, received " +
                           std::string(zero ? "zero norm" : "NaN or Inf") + " for request " +
                           std::to_string(request) +
                           ". Check its state, subject weights and the bundle's weights.");
}

}  // namespace tandem
