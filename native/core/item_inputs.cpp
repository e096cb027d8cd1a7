// One row an item, made when weights are loaded: the sum of an item's features is the same whenever it is looked up.

#include "core/item_inputs.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "core/view_checks.h"

namespace tandem {
namespace {

constexpr const char* kWidth = "embeddingWidth";

const float* RowOf(const FloatView& table, std::int32_t row, std::size_t width) {
  return table.data + static_cast<std::size_t>(row) * width;
}

Status CheckCategories(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                       std::size_t count) {
  std::size_t categories = 0;
  Status status =
      CheckTable(kernels, "categories.table", items.category_table, kWidth, width, &categories);
  if (status.ok()) {
    status = CheckOffsets("categories.offsets", items.category_offsets, count, "[N + 1]");
  }
  if (!status.ok()) return status;
  const std::size_t terms = static_cast<std::size_t>(items.category_offsets.data[count]);
  constexpr const char* kTerms = "[categories.offsets[N]]";
  status = CheckLength("categories.rows", terms, kTerms, items.category_rows.size);
  if (status.ok()) status = CheckRows("categories.rows", items.category_rows, terms, categories);
  if (status.ok()) {
    status = CheckLength("categories.weights", terms, kTerms, items.category_weights.size);
  }
  if (status.ok()) status = CheckFinite(kernels, "categories.weights", items.category_weights);
  return status;
}

/// One row of a table for each item.
Status CheckItemRows(const KernelTable& kernels, const char* table_name, const FloatView& table,
                     const char* rows_name, const Int32View& item_rows, std::size_t width,
                     std::size_t count) {
  std::size_t rows = 0;
  Status status = CheckTable(kernels, table_name, table, kWidth, width, &rows);
  if (status.ok()) status = CheckLength(rows_name, count, "[N]", item_rows.size);
  if (status.ok()) status = CheckRows(rows_name, item_rows, count, rows);
  return status;
}

}  // namespace

Status CheckItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                       std::size_t* count) {
  Status status = CheckTable(kernels, "itemTable", items.item_table, kWidth, width, count);
  if (status.ok() && items.has_categories) status = CheckCategories(kernels, items, width, *count);
  if (status.ok() && items.has_advertisers) {
    status = CheckItemRows(kernels, "advertisers.table", items.advertiser_table, "advertisers.rows",
                           items.advertiser_rows, width, *count);
  }
  if (status.ok() && items.has_prices) {
    status = CheckItemRows(kernels, "prices.table", items.price_table, "prices.rows",
                           items.price_rows, width, *count);
  }
  return status;
}

bool MakeItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                    std::size_t count, const Linear* projection, ThreadPool& pool,
                    AlignedBuffer* out) {
  const std::size_t outputs = projection == nullptr ? width : projection->outputs();
  if (!out->Reserve(count * outputs)) return false;
  std::unique_ptr<AlignedBuffer[]> inputs;
  if (projection != nullptr) {
    inputs.reset(new (std::nothrow) AlignedBuffer[pool.size()]);
    if (inputs == nullptr) return false;
    for (std::size_t worker = 0; worker < pool.size(); ++worker) {
      if (!inputs[worker].Reserve(Linear::kRows * width)) return false;
    }
  }
  const std::size_t groups = (count + Linear::kRows - 1) / Linear::kRows;
  pool.ParallelFor(groups, [&](std::size_t group, std::size_t worker) {
    const std::size_t begin = group * Linear::kRows;
    const std::size_t end = std::min(count, begin + Linear::kRows);
    float* const made = out->data() + begin * outputs;
    float* const rows = projection == nullptr ? made : inputs[worker].data();
    std::memcpy(rows, items.item_table.data + begin * width, (end - begin) * width * sizeof(float));
    for (std::size_t item = begin; item < end; ++item) {
      float* row = rows + (item - begin) * width;
      if (items.has_categories) {
        const std::int32_t* terms = items.category_offsets.data + item;
        for (std::int32_t i = terms[0]; i < terms[1]; ++i) {
          kernels.axpy(items.category_weights.data[i],
                       RowOf(items.category_table, items.category_rows.data[i], width), width, row);
        }
      }
      if (items.has_advertisers) {
        kernels.axpy(1.0f, RowOf(items.advertiser_table, items.advertiser_rows.data[item], width),
                     width, row);
      }
      if (items.has_prices) {
        kernels.axpy(1.0f, RowOf(items.price_table, items.price_rows.data[item], width), width,
                     row);
      }
    }
    if (projection == nullptr) return;
    AlignedBuffer no_scratch;
    projection->Apply(kernels, rows, width, end - begin, Linear::Into::kOverwrite, made, outputs,
                      no_scratch);
  });
  return true;
}

}  // namespace tandem
