// Folds and packs the weights of the head when they are loaded, so that a request adds up rows
// instead of multiplying them. Shapes are in docs/explanation/model.md.

#include <cmath>
#include <cstring>
#include <new>
#include <string>

#include "core/runtime/view_checks.h"
#include "core/towers/head.h"

namespace tandem {
namespace {

constexpr std::size_t kMaxWidth = 1 << 16;
/// A table of subjects or items of up to this many floats (64 MiB) is stored multiplied by the
/// context layer.
constexpr std::size_t kMultipliedSize = std::size_t{1} << 24;

Status OutOfMemory() { return Status::Internal("Out of memory for the head."); }

/// Z, the width of the vector that the hidden layer reads.
std::size_t FusedWidth(const HeadWeightViews& w) {
  const std::size_t states = w.fusion == HeadFusion::kAttention ? 2 : 1;
  const std::size_t context = w.fusion == HeadFusion::kNone ? 0 : w.context_width + 1;
  return states * w.embedding_width + context;
}

/// Checks the sizes, and the lengths of the weights that every fusion has.
Status CheckHeadWeights(const HeadWeightViews& w) {
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
  const std::size_t z = FusedWidth(w);

  Status status = CheckLength("coldStart", d, "[D]", w.cold_start.size);
  if (status.ok()) status = CheckLength("hiddenWeight", h * z, "[H, Z]", w.hidden_weight.size);
  if (status.ok()) status = CheckLength("hiddenBias", h, "[H]", w.hidden_bias.size);
  if (status.ok()) status = CheckLength("outputWeight", d * h, "[D, H]", w.output_weight.size);
  if (status.ok()) status = CheckLength("outputBias", d, "[D]", w.output_bias.size);
  if (status.ok()) status = CheckLength("skipWeight", d * z, "[D, Z]", w.skip_weight.size);
  return status;
}

}  // namespace

Status Head::Create(const HeadWeightViews& w, Precision precision, const KernelTable& kernels,
                    std::unique_ptr<Head>* head) {
  Status status = CheckHeadWeights(w);
  if (!status.ok()) return status;
  const std::size_t d = w.embedding_width;
  const std::size_t h = w.hidden_width;
  const std::size_t z = FusedWidth(w);
  std::unique_ptr<Head> made(new (std::nothrow) Head(kernels));
  if (made == nullptr) return OutOfMemory();
  made->precision_ = precision;
  made->fusion_ = w.fusion;
  made->embedding_width_ = d;
  made->hidden_width_ = h;
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
  if (w.fusion != HeadFusion::kNone) status = made->CreateContext(w);
  if (status.ok() && w.fusion == HeadFusion::kAttention) status = made->CreateAttention(w);
  if (status.ok()) *head = std::move(made);
  return status;
}

/// c = relu(Wc [s ; age ; country ; gender ; x] + bc) is a sum of one product for each part, and
/// each part is a table row or a mean of rows. So the rows are multiplied here, once, and a request
/// only adds them up.
Status Head::CreateContext(const HeadWeightViews& w) {
  const KernelTable& kernels = *kernels_;
  const std::size_t f = context_width_ = w.context_width;
  const std::size_t e = subject_width_ = w.subject_width;
  const std::size_t g = w.demographic_width;
  const std::size_t inputs = e + 3 * g + (w.has_subject_items ? embedding_width_ : 0);
  Status status =
      CheckLength("contextWeight", f * inputs,
                  w.has_subject_items ? "[F, E + 3 G + D]" : "[F, E + 3 G]", w.context_weight.size);
  if (status.ok()) status = CheckLength("contextBias", f, "[F]", w.context_bias.size);
  if (status.ok()) status = CreateSubjects(w, inputs);
  if (status.ok() && w.has_subject_items) status = CreateItems(w, inputs);

  AlignedBuffer none;
  const FloatView* tables[3] = {&w.age_table, &w.country_table, &w.gender_table};
  for (std::size_t t = 0; t < 3 && status.ok(); ++t) {
    status =
        CountRows(kDemographicTables[t], *tables[t], "demographicWidth", g, &demographic_rows_[t]);
    if (!status.ok()) return status;
    Linear layer;
    if (!layer.Pack(kernels, Precision::kF32, w.context_weight.data + e + t * g, inputs, true, g, f,
                    t == 0 ? w.context_bias.data : nullptr) ||
        !demographic_tables_[t].Reserve(demographic_rows_[t] * f)) {
      return OutOfMemory();
    }
    layer.Apply(kernels, tables[t]->data, g, demographic_rows_[t], Linear::Into::kOverwrite,
                demographic_tables_[t].data(), f, none);
  }
  return status;
}

Status Head::CreateSubjects(const HeadWeightViews& w, std::size_t inputs) {
  const std::size_t e = subject_width_;
  const std::size_t f = context_width_;
  Status status = CheckLength("noSubject", e, "[E]", w.no_subject.size);
  if (status.ok())
    status = CountRows("subjectTable", w.subject_table, "subjectWidth", e, &subjects_);
  if (!status.ok()) return status;

  AlignedBuffer rows;
  if (!rows.Reserve((subjects_ + 1) * e)) return OutOfMemory();
  std::memcpy(rows.data(), w.subject_table.data, subjects_ * e * sizeof(float));
  std::memcpy(rows.data() + subjects_ * e, w.no_subject.data, e * sizeof(float));
  ContextTable& table = subject_table_;
  table.multiplied = (subjects_ + 1) * f <= kMultipliedSize;
  if (!table.layer.Pack(*kernels_, table.multiplied ? Precision::kF32 : precision_,
                        w.context_weight.data, inputs, true, e, f, nullptr)) {
    return OutOfMemory();
  }
  if (!table.multiplied) {
    table.rows = std::move(rows);
    return status;
  }
  if (!table.rows.Reserve((subjects_ + 1) * f)) return OutOfMemory();
  AlignedBuffer none;
  table.layer.Apply(*kernels_, rows.data(), e, subjects_ + 1, Linear::Into::kOverwrite,
                    table.rows.data(), f, none);
  return status;
}

Status Head::CreateItems(const HeadWeightViews& w, std::size_t inputs) {
  const std::size_t d = embedding_width_;
  const std::size_t f = context_width_;
  const Status status = CheckItemInputs(*kernels_, w.subject_items, d, &items_);
  if (!status.ok()) return status;
  ContextTable& table = item_table_;
  table.multiplied = items_ * f <= kMultipliedSize;
  if (!table.layer.Pack(*kernels_, table.multiplied ? Precision::kF32 : precision_,
                        w.context_weight.data + inputs - d, inputs, true, d, f, nullptr) ||
      !MakeItemInputs(*kernels_, w.subject_items, d, items_,
                      table.multiplied ? &table.layer : nullptr, ThreadPool::Shared(),
                      &table.rows)) {
    return OutOfMemory();
  }
  return status;
}

/// A score (Wk_h s_t) . (Wq_h c) equals s_t . (Wk_h^T Wq_h c), and values are linear, too. So a
/// sequence only needs its states, and a request costs two products of [D, D] for each head,
/// besides one pass over the states.
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

}  // namespace tandem
