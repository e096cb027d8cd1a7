// Checks items' features and sums them: one row for each item, the same whenever it is looked up.

#include "core/towers/item_inputs.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "core/runtime/view_checks.h"

namespace tandem {
namespace {

constexpr const char* kWidth = "embeddingWidth";

const float* RowOf(const FloatView& table, std::int32_t row, std::size_t width) {
  return table.data + static_cast<std::size_t>(row) * width;
}

/// Counts the rows of a table that the model has.
Status CountTable(const KernelTable& kernels, bool has, const char* name, const FloatView& table,
                  std::size_t width, std::size_t* rows) {
  return has ? CheckTable(kernels, name, table, kWidth, width, rows) : Status::Ok();
}

Status CheckCategories(const ItemRowViews& items, std::size_t count, std::size_t limit,
                       const ItemInputNames& names) {
  Status status = CheckOffsets(names.category_offsets, items.category_offsets, count, "[N + 1]");
  if (!status.ok()) return status;
  const std::size_t terms = static_cast<std::size_t>(items.category_offsets.data[count]);
  const std::string shape = std::string("[") + names.category_offsets + "[N]]";
  status = CheckLength(names.category_rows, terms, shape.c_str(), items.category_rows.size);
  if (status.ok()) status = CheckRows(names.category_rows, items.category_rows, terms, limit);
  if (status.ok()) {
    status = CheckLength(names.category_weights, terms, shape.c_str(), items.category_weights.size);
  }
  return status;
}

/// Checks that each item has one row of a table.
Status CheckRowEach(const char* name, const Int32View& rows, std::size_t count, std::size_t limit) {
  const Status status = CheckLength(name, count, "[N]", rows.size);
  return status.ok() ? CheckRows(name, rows, count, limit) : status;
}

}  // namespace

Status CheckItemTables(const KernelTable& kernels, const ItemTableViews& tables, std::size_t width,
                       const ItemInputNames& names, ItemTableRows* rows) {
  Status status = CountTable(kernels, tables.has_categories, names.category_table,
                             tables.category_table, width, &rows->categories);
  if (status.ok()) {
    status = CountTable(kernels, tables.has_advertisers, names.advertiser_table,
                        tables.advertiser_table, width, &rows->advertisers);
  }
  if (status.ok()) {
    status = CountTable(kernels, tables.has_prices, names.price_table, tables.price_table, width,
                        &rows->prices);
  }
  return status;
}

Status CheckItemRows(const ItemTableViews& tables, const ItemTableRows& limits,
                     const ItemRowViews& items, std::size_t count, const ItemInputNames& names) {
  Status status;
  if (tables.has_categories) status = CheckCategories(items, count, limits.categories, names);
  if (status.ok() && tables.has_advertisers) {
    status = CheckRowEach(names.advertiser_rows, items.advertiser_rows, count, limits.advertisers);
  }
  if (status.ok() && tables.has_prices) {
    status = CheckRowEach(names.price_rows, items.price_rows, count, limits.prices);
  }
  return status;
}

Status CheckItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                       std::size_t* count) {
  const ItemInputNames names;
  ItemTableRows rows;
  Status status = CheckTable(kernels, "itemTable", items.item_table, kWidth, width, count);
  if (status.ok()) status = CheckItemTables(kernels, items, width, names, &rows);
  if (status.ok()) status = CheckItemRows(items, rows, items, *count, names);
  if (status.ok() && items.has_categories) {
    status = CheckFinite(kernels, names.category_weights, items.category_weights);
  }
  return status;
}

void SumItemInputs(const KernelTable& kernels, const ItemInputViews& items, std::size_t width,
                   std::size_t begin, std::size_t end, float* rows) {
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
      kernels.axpy(1.0f, RowOf(items.price_table, items.price_rows.data[item], width), width, row);
    }
  }
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
    SumItemInputs(kernels, items, width, begin, end, rows);
    if (projection == nullptr) return;
    AlignedBuffer no_scratch;
    projection->Apply(kernels, rows, width, end - begin, Linear::Into::kOverwrite, made, outputs,
                      no_scratch);
  });
  return true;
}

}  // namespace tandem
