// Three packed matrix products per micro-batch: context, [hidden ; skip], output. Shapes: docs/model.md.

#include "core/head.h"

#include <cmath>
#include <string>

#include "core/gemm.h"

namespace tandem {
namespace {

Status CheckLength(const char* field, std::size_t expected, const char* shape,
                   std::size_t received) {
  if (expected == received) return Status::Ok();
  return Status::OutOfRange("Expected length " + std::to_string(expected) + " " + shape + " for " +
                            field + ", received length " + std::to_string(received) + ".");
}

bool Copy(const FloatView& from, AlignedBuffer* to) {
  if (!to->Reserve(from.size)) return false;
  if (from.size > 0) std::memcpy(to->data(), from.data, from.size * sizeof(float));
  return true;
}

/// Rows of a table [rows, width]; 0 when the length is no positive multiple of width.
std::size_t TableRows(const FloatView& table, std::size_t width) {
  return width > 0 && table.size % width == 0 ? table.size / width : 0;
}

constexpr const char* kDemographicNames[3] = {"ageTable", "countryTable", "genderTable"};
constexpr std::size_t kMaxWidth = 1 << 16;

}  // namespace

Status Head::Create(const HeadWeightViews& w, const KernelTable& kernels,
                    std::unique_ptr<Head>* head) {
  const std::size_t d = w.embedding_width;
  const std::size_t h = w.hidden_width;
  struct Width {
    const char* name;
    std::size_t value;
  };
  const Width widths[] = {{"embeddingWidth", d},
                          {"hiddenWidth", h},
                          {"contextWidth", w.context_width},
                          {"subjectWidth", w.subject_width},
                          {"demographicWidth", w.demographic_width}};
  for (std::size_t i = 0; i < (w.has_context ? 5u : 2u); ++i) {
    if (widths[i].value >= 1 && widths[i].value <= kMaxWidth) continue;
    return Status::OutOfRange(std::string("Expected 1 to 65536 for ") + widths[i].name +
                              ", received " + std::to_string(widths[i].value) + ".");
  }
  const std::size_t f = w.context_width;
  const std::size_t z = w.has_context ? d + f + 1 : d;
  const std::size_t x = w.subject_width + 3 * w.demographic_width;

  Status status = CheckLength("coldStart", d, "[D]", w.cold_start.size);
  if (status.ok()) status = CheckLength("hiddenWeight", h * z, "[H, Z]", w.hidden_weight.size);
  if (status.ok()) status = CheckLength("hiddenBias", h, "[H]", w.hidden_bias.size);
  if (status.ok()) status = CheckLength("outputWeight", d * h, "[D, H]", w.output_weight.size);
  if (status.ok()) status = CheckLength("outputBias", d, "[D]", w.output_bias.size);
  if (status.ok()) status = CheckLength("skipWeight", d * z, "[D, Z]", w.skip_weight.size);
  if (status.ok() && w.has_context) {
    status = CheckLength("noSubject", w.subject_width, "[E]", w.no_subject.size);
    if (status.ok()) {
      status = CheckLength("contextWeight", f * x, "[F, E + 3 G]", w.context_weight.size);
    }
    if (status.ok()) status = CheckLength("contextBias", f, "[F]", w.context_bias.size);
  }
  if (!status.ok()) return status;

  std::unique_ptr<Head> made(new (std::nothrow) Head(kernels));
  if (made == nullptr) return Status::Internal("Out of memory for the head.");
  made->has_context_ = w.has_context;
  made->embedding_width_ = d;
  made->hidden_width_ = h;
  made->fused_width_ = z;

  bool enough = Copy(w.cold_start, &made->cold_start_);
  AlignedBuffer stacked;
  enough = enough && stacked.Reserve((h + d) * z) &&
           made->stacked_weight_.Reserve(PackedSize(kernels, z, h + d)) &&
           made->stacked_bias_.Reserve(h + d) &&
           made->output_weight_.Reserve(PackedSize(kernels, h, d));
  if (!enough) return Status::Internal("Out of memory for the weights of the head.");
  std::memcpy(stacked.data(), w.hidden_weight.data, h * z * sizeof(float));
  std::memcpy(stacked.data() + h * z, w.skip_weight.data, d * z * sizeof(float));
  PackPanels(kernels, stacked.data(), z, true, z, h + d, made->stacked_weight_.data());
  std::memcpy(made->stacked_bias_.data(), w.hidden_bias.data, h * sizeof(float));
  std::memcpy(made->stacked_bias_.data() + h, w.output_bias.data, d * sizeof(float));
  PackPanels(kernels, w.output_weight.data, h, true, h, d, made->output_weight_.data());

  if (w.has_context) {
    made->context_width_ = f;
    made->subject_width_ = w.subject_width;
    made->demographic_width_ = w.demographic_width;
    made->context_input_ = x;
    made->subjects_ = TableRows(w.subject_table, w.subject_width);
    if (made->subjects_ == 0) {
      return Status::OutOfRange(
          "Expected a positive multiple of subjectWidth (" + std::to_string(w.subject_width) +
          ") as length of subjectTable, received " + std::to_string(w.subject_table.size) + ".");
    }
    const FloatView* tables[3] = {&w.age_table, &w.country_table, &w.gender_table};
    for (std::size_t t = 0; t < 3; ++t) {
      made->demographic_rows_[t] = TableRows(*tables[t], w.demographic_width);
      if (made->demographic_rows_[t] == 0) {
        return Status::OutOfRange("Expected a positive multiple of demographicWidth (" +
                                  std::to_string(w.demographic_width) + ") as length of " +
                                  kDemographicNames[t] + ", received " +
                                  std::to_string(tables[t]->size) + ".");
      }
      enough = enough && Copy(*tables[t], &made->demographic_tables_[t]);
    }
    enough = enough && Copy(w.subject_table, &made->subject_table_) &&
             Copy(w.no_subject, &made->no_subject_) && Copy(w.context_bias, &made->context_bias_) &&
             made->context_weight_.Reserve(PackedSize(kernels, x, f));
    if (!enough) return Status::Internal("Out of memory for the context tables of the head.");
    PackPanels(kernels, w.context_weight.data, x, true, x, f, made->context_weight_.data());
  }
  *head = std::move(made);
  return Status::Ok();
}

Status Head::CheckBatch(const HeadBatchViews& batch, std::size_t out_size) const {
  const std::size_t b = batch.count;
  if (b > kMaxWidth) {
    return Status::OutOfRange("Expected at most 65536 requests for count, received " +
                              std::to_string(b) + ".");
  }
  Status status = CheckLength("states", b * embedding_width_, "[B, D]", batch.states.size);
  if (status.ok()) status = CheckLength("hasState", b, "[B]", batch.has_state_size);
  if (status.ok()) status = CheckLength("out", b * embedding_width_, "[B, D]", out_size);
  if (!status.ok() || !has_context_) return status;
  status = CheckLength("stateAge", b, "[B]", batch.state_age.size);
  if (status.ok()) {
    status = CheckLength("subjectOffsets", b + 1, "[B + 1]", batch.subject_offsets_size);
  }
  if (status.ok()) status = CheckLength("demographics", 3 * b, "[B, 3]", batch.demographics_size);
  if (!status.ok()) return status;

  const std::int32_t* offsets = batch.subject_offsets;
  bool ascending = offsets[0] == 0;
  for (std::size_t i = 0; i < b; ++i) ascending = ascending && offsets[i] <= offsets[i + 1];
  if (!ascending) {
    return Status::OutOfRange("Expected ascending offsets from 0 for subjectOffsets.");
  }
  const std::size_t terms = static_cast<std::size_t>(offsets[b]);
  if (batch.subject_rows_size < terms || batch.subject_weights.size < terms) {
    return Status::OutOfRange("Expected " + std::to_string(terms) +
                              " entries (subjectOffsets[B]) in subjectRows and subjectWeights, "
                              "received " +
                              std::to_string(batch.subject_rows_size) + " and " +
                              std::to_string(batch.subject_weights.size) + ".");
  }
  for (std::size_t i = 0; i < terms; ++i) {
    const std::int32_t row = batch.subject_rows[i];
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
    const std::int32_t row = batch.demographics[i];
    if (row < 0 || static_cast<std::size_t>(row) >= demographic_rows_[i % 3]) {
      return Status::OutOfRange("Expected rows below " + std::to_string(demographic_rows_[i % 3]) +
                                " of " + kDemographicNames[i % 3] + " in demographics, received " +
                                std::to_string(row) + " at " + std::to_string(i) + ".");
    }
  }
  return Status::Ok();
}

/// x [E + 3 G] = [bag(subject) ; age ; country ; gender]; indices were checked.
void Head::WriteContextInput(const HeadBatchViews& batch, std::size_t request, float* x) const {
  const std::size_t e = subject_width_;
  const std::size_t g = demographic_width_;
  const std::size_t begin = static_cast<std::size_t>(batch.subject_offsets[request]);
  const std::size_t end = static_cast<std::size_t>(batch.subject_offsets[request + 1]);
  float total = 0.0f;
  for (std::size_t i = begin; i < end; ++i) total += batch.subject_weights.data[i];
  if (total > 0.0f) {
    std::memset(x, 0, e * sizeof(float));
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t row = static_cast<std::size_t>(batch.subject_rows[i]);
      kernels_->axpy(batch.subject_weights.data[i] / total, subject_table_.data() + row * e, e, x);
    }
  } else {
    std::memcpy(x, no_subject_.data(), e * sizeof(float));
  }
  for (std::size_t t = 0; t < 3; ++t) {
    const std::size_t row = static_cast<std::size_t>(batch.demographics[3 * request + t]);
    std::memcpy(x + e + t * g, demographic_tables_[t].data() + row * g, g * sizeof(float));
  }
}

Status Head::Embed(const HeadBatchViews& batch, float* out, std::size_t out_size) {
  const Status status = CheckBatch(batch, out_size);
  if (!status.ok()) return status;
  const std::size_t b = batch.count;
  const std::size_t d = embedding_width_;
  const std::size_t h = hidden_width_;
  const std::size_t z = fused_width_;
  const std::size_t x = context_input_;
  if (b == 0) return Status::Ok();
  if (!scratch_.Reserve(b * (x + z + h + d))) {
    return Status::Internal("Out of memory for the scratch of the head.");
  }
  float* const input = scratch_.data();  // [B, E + 3 G]
  float* const fused = input + b * x;    // [B, Z]
  float* const stacked = fused + b * z;  // [B, H + D]
  const ptrdiff_t tile = static_cast<ptrdiff_t>(kernels_->column_tile);

  for (std::size_t i = 0; i < b; ++i) {
    const float* state = batch.has_state[i] != 0 ? batch.states.data + i * d : cold_start_.data();
    std::memcpy(fused + i * z, state, d * sizeof(float));
    if (!has_context_) continue;
    fused[i * z + z - 1] = batch.state_age.data[i];
    WriteContextInput(batch, i, input + i * x);
  }

  if (has_context_) {
    GemmBlock context = {};
    context.a = input;
    context.a_row_stride = static_cast<ptrdiff_t>(x);
    context.a_k_stride = 1;
    context.b = context_weight_.data();
    context.b_k_stride = tile;
    context.b_panel_stride = tile * static_cast<ptrdiff_t>(x);
    context.m = b;
    context.n = context_width_;
    context.k = x;
    context.bias = context_bias_.data();
    context.relu = true;
    context.c = fused + d;
    context.c_row_stride = static_cast<ptrdiff_t>(z);
    kernels_->gemm(context);
  }

  GemmBlock hidden = {};
  hidden.a = fused;
  hidden.a_row_stride = static_cast<ptrdiff_t>(z);
  hidden.a_k_stride = 1;
  hidden.b = stacked_weight_.data();
  hidden.b_k_stride = tile;
  hidden.b_panel_stride = tile * static_cast<ptrdiff_t>(z);
  hidden.m = b;
  hidden.n = h + d;
  hidden.k = z;
  hidden.bias = stacked_bias_.data();
  hidden.c = stacked;
  hidden.c_row_stride = static_cast<ptrdiff_t>(h + d);
  kernels_->gemm(hidden);

  for (std::size_t i = 0; i < b; ++i) {
    float* row = stacked + i * (h + d);
    kernels_->unary(UnaryOp::kRelu, row, h, row);
    std::memcpy(out + i * d, row + h, d * sizeof(float));
  }

  GemmBlock output = {};
  output.a = stacked;
  output.a_row_stride = static_cast<ptrdiff_t>(h + d);
  output.a_k_stride = 1;
  output.b = output_weight_.data();
  output.b_k_stride = tile;
  output.b_panel_stride = tile * static_cast<ptrdiff_t>(h);
  output.m = b;
  output.n = d;
  output.k = h;
  output.accumulate = true;
  output.c = out;
  output.c_row_stride = static_cast<ptrdiff_t>(d);
  kernels_->gemm(output);

  for (std::size_t i = 0; i < b; ++i) {
    float* row = out + i * d;
    // In f64 the squares of finite f32 values neither overflow nor vanish.
    double squares = 0.0;
    for (std::size_t j = 0; j < d; ++j) {
      squares += static_cast<double>(row[j]) * static_cast<double>(row[j]);
    }
    if (!(squares > 0.0) || !std::isfinite(squares)) {
      return Status::NonFinite("Expected a finite query embedding with a direction, received " +
                               std::string(squares == 0.0 ? "zero norm" : "NaN or Inf") +
                               " for request " + std::to_string(i) +
                               ". Check its state, subject weights and the bundle's weights.");
    }
    const double inverse = 1.0 / std::sqrt(squares);
    for (std::size_t j = 0; j < d; ++j) {
      row[j] = static_cast<float>(static_cast<double>(row[j]) * inverse);
    }
  }
  return Status::Ok();
}

}  // namespace tandem
