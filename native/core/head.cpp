// What is folded at load, and the order of products for a block of requests. Shapes: docs/model.md.

#include "core/head.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <string>

#include "core/thread_pool.h"

namespace tandem {
namespace {

constexpr const char* kDemographicNames[3] = {"ageTable", "countryTable", "genderTable"};
constexpr std::size_t kMaxWidth = 1 << 16;
/// Floats (64 MiB) up to which the subject table is stored multiplied by the context layer.
constexpr std::size_t kMultipliedSize = std::size_t{1} << 24;
/// Requests whose rows stay in cache from product to product, and what a thread takes at once.
constexpr std::size_t kBlock = 32;
/// Blocks from which on they go to the pool. A block is about 35 microseconds; below this the caller would rather finish
/// alone than risk to wait for a worker that has lost its CPU.
constexpr std::size_t kParallelBlocks = 4;
/// Terms of a bag per call of the kernel.
constexpr std::size_t kTerms = 64;

Status CheckLength(const char* field, std::size_t expected, const char* shape,
                   std::size_t received) {
  if (expected == received) return Status::Ok();
  return Status::OutOfRange("Expected length " + std::to_string(expected) + " " + shape + " for " +
                            field + ", received length " + std::to_string(received) + ".");
}

Status OutOfMemory() { return Status::Internal("Out of memory for the head."); }

/// Rows of a table [rows, width], at least one.
Status CountRows(const char* name, const FloatView& table, const char* width_name,
                 std::size_t width, std::size_t* rows) {
  *rows = table.size / width;
  if (*rows > 0 && table.size % width == 0) return Status::Ok();
  return Status::OutOfRange(std::string("Expected a positive multiple of ") + width_name + " (" +
                            std::to_string(width) + ") as length of " + name + ", received " +
                            std::to_string(table.size) + ".");
}

/// offsets [count + 1] ascending from 0.
Status CheckOffsets(const char* name, const Int32View& offsets, std::size_t count) {
  Status status = CheckLength(name, count + 1, "[B + 1]", offsets.size);
  if (!status.ok()) return status;
  bool ascending = offsets.data[0] == 0;
  for (std::size_t i = 0; i < count; ++i) {
    ascending = ascending && offsets.data[i] <= offsets.data[i + 1];
  }
  if (ascending) return status;
  return Status::OutOfRange(std::string("Expected ascending offsets from 0 for ") + name + ".");
}

/// Scales row to unit norm. False, leaving it, when it is zero, NaN or Inf.
bool Normalise(const KernelTable& kernels, float* row, std::size_t n) {
  const float squares = kernels.dot(row, row, n);
  if (squares > 1e-30f && squares < 1e30f) {
    const float scale = 1.0f / std::sqrt(squares);
    kernels.binary(BinaryOp::kMul, BinaryForm::kScalarB, row, &scale, n, row);
    return true;
  }
  // In f64 the squares of finite f32 values neither overflow nor vanish.
  double sum = 0.0;
  for (std::size_t j = 0; j < n; ++j) {
    sum += static_cast<double>(row[j]) * static_cast<double>(row[j]);
  }
  if (!(sum > 0.0) || !std::isfinite(sum)) return false;
  const double inverse = 1.0 / std::sqrt(sum);
  for (std::size_t j = 0; j < n; ++j) {
    row[j] = static_cast<float>(static_cast<double>(row[j]) * inverse);
  }
  return true;
}

}  // namespace

Status Head::Create(const HeadWeightViews& w, Precision precision, const KernelTable& kernels,
                    std::unique_ptr<Head>* head) {
  const bool context = w.fusion != HeadFusion::kNone;
  const bool attention = w.fusion == HeadFusion::kAttention;
  const std::size_t d = w.embedding_width;
  const std::size_t h = w.hidden_width;
  struct Width {
    const char* name;
    std::size_t value;
    bool used;
  };
  const Width widths[] = {{"embeddingWidth", d, true},
                          {"hiddenWidth", h, true},
                          {"contextWidth", w.context_width, context},
                          {"subjectWidth", w.subject_width, context},
                          {"demographicWidth", w.demographic_width, context},
                          {"heads", w.heads, attention}};
  for (const Width& width : widths) {
    if (!width.used || (width.value >= 1 && width.value <= kMaxWidth)) continue;
    return Status::OutOfRange(std::string("Expected 1 to 65536 for ") + width.name + ", received " +
                              std::to_string(width.value) + ".");
  }
  const std::size_t z = d * (attention ? 2 : 1) + (context ? w.context_width + 1 : 0);

  Status status = CheckLength("coldStart", d, "[D]", w.cold_start.size);
  if (status.ok()) status = CheckLength("hiddenWeight", h * z, "[H, Z]", w.hidden_weight.size);
  if (status.ok()) status = CheckLength("hiddenBias", h, "[H]", w.hidden_bias.size);
  if (status.ok()) status = CheckLength("outputWeight", d * h, "[D, H]", w.output_weight.size);
  if (status.ok()) status = CheckLength("outputBias", d, "[D]", w.output_bias.size);
  if (status.ok()) status = CheckLength("skipWeight", d * z, "[D, Z]", w.skip_weight.size);
  if (!status.ok()) return status;

  std::unique_ptr<Head> made(new (std::nothrow) Head(kernels));
  if (made == nullptr) return OutOfMemory();
  made->precision_ = precision;
  made->fusion_ = w.fusion;
  made->embedding_width_ = d;
  made->hidden_width_ = h;
  made->fused_width_ = z;
  made->row_width_ = h + z;

  AlignedBuffer output;
  if (!output.Reserve(d * (h + z))) return OutOfMemory();
  for (std::size_t j = 0; j < d; ++j) {
    float* row = output.data() + j * (h + z);
    std::memcpy(row, w.output_weight.data + j * h, h * sizeof(float));
    std::memcpy(row + h, w.skip_weight.data + j * z, z * sizeof(float));
  }
  if (!made->cold_start_.Reserve(d) ||
      !made->hidden_layer_.Pack(kernels, precision, w.hidden_weight.data, z, true, z, h,
                                w.hidden_bias.data) ||
      !made->output_layer_.Pack(kernels, precision, output.data(), h + z, true, h + z, d,
                                w.output_bias.data)) {
    return OutOfMemory();
  }
  std::memcpy(made->cold_start_.data(), w.cold_start.data, d * sizeof(float));
  if (context) status = made->CreateContext(w);
  if (status.ok() && attention) status = made->CreateAttention(w);
  if (status.ok()) *head = std::move(made);
  return status;
}

/// c = relu(Wc [s ; age ; country ; gender] + bc) is a sum of one product per part, and each part is a (mean of) table
/// rows: so rows are multiplied here, once, and a request only adds them up.
Status Head::CreateContext(const HeadWeightViews& w) {
  const KernelTable& kernels = *kernels_;
  const std::size_t f = context_width_ = w.context_width;
  const std::size_t e = subject_width_ = w.subject_width;
  const std::size_t g = w.demographic_width;
  const std::size_t x = e + 3 * g;
  Status status = CheckLength("noSubject", e, "[E]", w.no_subject.size);
  if (status.ok()) {
    status = CheckLength("contextWeight", f * x, "[F, E + 3 G]", w.context_weight.size);
  }
  if (status.ok()) status = CheckLength("contextBias", f, "[F]", w.context_bias.size);
  if (status.ok())
    status = CountRows("subjectTable", w.subject_table, "subjectWidth", e, &subjects_);
  if (!status.ok()) return status;

  AlignedBuffer none;
  const FloatView* tables[3] = {&w.age_table, &w.country_table, &w.gender_table};
  for (std::size_t t = 0; t < 3; ++t) {
    status =
        CountRows(kDemographicNames[t], *tables[t], "demographicWidth", g, &demographic_rows_[t]);
    if (!status.ok()) return status;
    Linear layer;
    if (!layer.Pack(kernels, Precision::kF32, w.context_weight.data + e + t * g, x, true, g, f,
                    t == 0 ? w.context_bias.data : nullptr) ||
        !demographic_tables_[t].Reserve(demographic_rows_[t] * f)) {
      return OutOfMemory();
    }
    layer.Apply(kernels, tables[t]->data, g, demographic_rows_[t], Linear::Into::kOverwrite,
                demographic_tables_[t].data(), f, none);
  }

  multiplied_ = (subjects_ + 1) * f <= kMultipliedSize;
  AlignedBuffer table;
  if (!table.Reserve((subjects_ + 1) * e)) return OutOfMemory();
  std::memcpy(table.data(), w.subject_table.data, subjects_ * e * sizeof(float));
  std::memcpy(table.data() + subjects_ * e, w.no_subject.data, e * sizeof(float));
  const Precision precision = multiplied_ ? Precision::kF32 : precision_;
  if (!subject_layer_.Pack(kernels, precision, w.context_weight.data, x, true, e, f, nullptr)) {
    return OutOfMemory();
  }
  if (!multiplied_) {
    subject_table_ = std::move(table);
    return status;
  }
  if (!subject_table_.Reserve((subjects_ + 1) * f)) return OutOfMemory();
  subject_layer_.Apply(kernels, table.data(), e, subjects_ + 1, Linear::Into::kOverwrite,
                       subject_table_.data(), f, none);
  return status;
}

/// A score (Wk_h s_t) . (Wq_h c) is s_t . (Wk_h^T Wq_h c), and values are linear too: so of a sequence only its states
/// are needed, and a request costs two products of [D, D] per head besides one pass over them.
Status Head::CreateAttention(const HeadWeightViews& w) {
  const std::size_t d = embedding_width_;
  const std::size_t f = context_width_;
  heads_ = w.heads;
  if (d % heads_ != 0) {
    return Status::OutOfRange("Expected heads to divide embeddingWidth (" + std::to_string(d) +
                              "), received " + std::to_string(heads_) + ".");
  }
  Status status = CheckLength("queryWeight", d * f, "[D, F]", w.query_weight.size);
  if (status.ok()) status = CheckLength("keyWeight", d * d, "[D, D]", w.key_weight.size);
  if (status.ok()) status = CheckLength("valueWeight", d * d, "[D, D]", w.value_weight.size);
  if (status.ok()) {
    status = CheckLength("attention.outputWeight", d * d, "[D, D]", w.attention_output_weight.size);
  }
  if (!status.ok()) return status;

  const std::size_t width = d / heads_;
  const double scale = 1.0 / std::sqrt(static_cast<double>(width));
  AlignedBuffer scores, values;
  if (!scores.Reserve(heads_ * d * f) || !values.Reserve(d * heads_ * d)) return OutOfMemory();
  const auto dot = [width](const float* a, std::size_t a_step, const float* b, std::size_t b_step) {
    double sum = 0.0;
    for (std::size_t p = 0; p < width; ++p) {
      sum += static_cast<double>(a[p * a_step]) * static_cast<double>(b[p * b_step]);
    }
    return sum;
  };
  for (std::size_t head = 0; head < heads_; ++head) {
    const std::size_t first = head * width;
    for (std::size_t i = 0; i < d; ++i) {
      for (std::size_t j = 0; j < f; ++j) {
        scores.data()[(head * d + i) * f + j] =
            static_cast<float>(scale * dot(w.key_weight.data + first * d + i, d,
                                           w.query_weight.data + first * f + j, f));
      }
      for (std::size_t j = 0; j < d; ++j) {
        values.data()[i * heads_ * d + head * d + j] =
            static_cast<float>(dot(w.attention_output_weight.data + i * d + first, 1,
                                   w.value_weight.data + first * d + j, d));
      }
    }
  }
  if (!score_layer_.Pack(*kernels_, precision_, scores.data(), f, true, f, heads_ * d, nullptr) ||
      !value_layer_.Pack(*kernels_, precision_, values.data(), heads_ * d, true, heads_ * d, d,
                         nullptr)) {
    return OutOfMemory();
  }
  return status;
}

Status Head::CheckBatch(const HeadBatchViews& batch, std::size_t out_size) const {
  const std::size_t b = batch.count;
  const std::size_t d = embedding_width_;
  if (b > kMaxWidth) {
    return Status::OutOfRange("Expected at most 65536 requests for count, received " +
                              std::to_string(b) + ".");
  }
  Status status = CheckLength("out", b * d, "[B, D]", out_size);
  if (!status.ok()) return status;
  if (fusion_ == HeadFusion::kAttention) {
    status = CheckOffsets("sequenceOffsets", batch.sequence_offsets, b);
    if (!status.ok()) return status;
    const std::size_t rows = static_cast<std::size_t>(batch.sequence_offsets.data[b]);
    status =
        CheckLength("sequenceRows", rows * d, "[sequenceOffsets[B], D]", batch.sequence_rows.size);
  } else {
    status = CheckLength("states", b * d, "[B, D]", batch.states.size);
    if (status.ok()) status = CheckLength("hasState", b, "[B]", batch.has_state_size);
  }
  if (!status.ok() || fusion_ == HeadFusion::kNone) return status;
  return CheckContext(batch);
}

Status Head::CheckContext(const HeadBatchViews& batch) const {
  const std::size_t b = batch.count;
  Status status = CheckLength("stateAge", b, "[B]", batch.state_age.size);
  if (status.ok()) status = CheckLength("demographics", 3 * b, "[B, 3]", batch.demographics.size);
  if (status.ok()) status = CheckOffsets("subjectOffsets", batch.subject_offsets, b);
  if (!status.ok()) return status;

  const std::size_t terms = static_cast<std::size_t>(batch.subject_offsets.data[b]);
  if (batch.subject_rows.size < terms || batch.subject_weights.size < terms) {
    return Status::OutOfRange("Expected " + std::to_string(terms) +
                              " entries (subjectOffsets[B]) in subjectRows and subjectWeights, "
                              "received " +
                              std::to_string(batch.subject_rows.size) + " and " +
                              std::to_string(batch.subject_weights.size) + ".");
  }
  for (std::size_t i = 0; i < terms; ++i) {
    const std::int32_t row = batch.subject_rows.data[i];
    if (row < 0 || static_cast<std::size_t>(row) >= subjects_) {
      return Status::OutOfRange("Expected rows below " + std::to_string(subjects_) +
                                " in subjectRows, received " + std::to_string(row) + " at " +
                                std::to_string(i) + ".");
    }
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
                                " of " + kDemographicNames[i % 3] + " in demographics, received " +
                                std::to_string(row) + " at " + std::to_string(i) + ".");
    }
  }
  return status;
}

bool Head::ReserveScratch(std::size_t workers, std::size_t block, std::size_t longest) {
  if (workers > worker_count_) {
    workers_.reset(new (std::nothrow) Worker[workers]);
    worker_count_ = workers_ == nullptr ? 0 : workers;
    if (workers_ == nullptr) return false;
  }
  const bool attention = fusion_ == HeadFusion::kAttention;
  const std::size_t queries = attention ? block * heads_ * embedding_width_ : 0;
  const std::size_t widest = std::max({row_width_, subject_width_, heads_ * embedding_width_});
  for (std::size_t i = 0; i < workers; ++i) {
    Worker& worker = workers_[i];
    if (!worker.rows.Reserve(block * row_width_) ||
        !worker.subjects.Reserve(multiplied_ ? 0 : block * subject_width_) ||
        !worker.queries.Reserve(queries) || !worker.sums.Reserve(queries) ||
        !worker.scores.Reserve(attention ? heads_ * longest : 0) ||
        !worker.rounded.Reserve(Linear::ScratchSize(precision_, widest))) {
      return false;
    }
  }
  return true;
}

/// context [F]: the sum of the request's table rows; without the subject's part, which goes to subject [E], where the
/// subject table is not multiplied. Indices were checked.
void Head::WriteContext(const HeadBatchViews& batch, std::size_t request, float* subject,
                        float* context) const {
  const float* rows[kTerms];
  float weights[kTerms];
  std::size_t used = 0;
  for (; used < 3; ++used) {
    const std::size_t row = static_cast<std::size_t>(batch.demographics.data[3 * request + used]);
    rows[used] = demographic_tables_[used].data() + row * context_width_;
    weights[used] = 1.0f;
  }
  if (!multiplied_) {
    kernels_->bag(rows, weights, used, context_width_, false, false, context);
    used = 0;
  }
  float* out = multiplied_ ? context : subject;
  const std::size_t n = multiplied_ ? context_width_ : subject_width_;
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
      rows[used] = subject_table_.data() + row * n;
      weights[used++] = batch.subject_weights.data[i] / total;
    }
  } else {
    rows[used] = subject_table_.data() + subjects_ * n;
    weights[used++] = 1.0f;
  }
  kernels_->bag(rows, weights, used, n, accumulate, multiplied_, out);
}

/// State, age and context of each request's row.
void Head::WriteInputs(const HeadBatchViews& batch, std::size_t first, std::size_t count,
                       Worker& worker) const {
  const bool attention = fusion_ == HeadFusion::kAttention;
  const std::size_t d = embedding_width_;
  const std::size_t state_at = hidden_width_ + (attention ? d : 0);
  float* const contexts = worker.rows.data() + state_at + d;
  float* const subjects = worker.subjects.data();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t request = first + i;
    float* row = worker.rows.data() + i * row_width_;
    const float* state = nullptr;
    if (attention) {
      const std::int32_t* offsets = batch.sequence_offsets.data + request;
      if (offsets[1] > offsets[0]) {
        state = batch.sequence_rows.data + (static_cast<std::size_t>(offsets[1]) - 1) * d;
      }
    } else if (batch.has_state[request] != 0) {
      state = batch.states.data + request * d;
    }
    std::memcpy(row + state_at, state == nullptr ? cold_start_.data() : state, d * sizeof(float));
    if (fusion_ == HeadFusion::kNone) continue;
    // The age of a state that is not there is 0, whatever the array holds.
    row[row_width_ - 1] = state == nullptr ? 0.0f : batch.state_age.data[request];
    WriteContext(batch, request, multiplied_ ? nullptr : subjects + i * subject_width_,
                 contexts + i * row_width_);
  }
  if (fusion_ == HeadFusion::kNone || multiplied_) return;
  subject_layer_.Apply(*kernels_, subjects, subject_width_, count, Linear::Into::kAdd, contexts,
                       row_width_, worker.rounded);
  for (std::size_t i = 0; i < count; ++i) {
    float* context = contexts + i * row_width_;
    kernels_->unary(UnaryOp::kRelu, context, context_width_, context);
  }
}

/// Writes the attended part of each request's row. A user without states has a sequence of one, the cold start.
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

/// Returns the first request whose embedding has no direction, or first + count.
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

Status Head::Embed(const HeadBatchViews& batch, float* out, std::size_t out_size) {
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
  if (!ReserveScratch(workers, std::min(b, kBlock), longest)) return OutOfMemory();

  std::atomic<std::size_t> refused{b};
  const auto embed = [&](std::size_t block, std::size_t worker) {
    const std::size_t first = block * kBlock;
    const std::size_t count = std::min(kBlock, b - first);
    const std::size_t stopped = EmbedBlock(batch, first, count, workers_[worker], out);
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
