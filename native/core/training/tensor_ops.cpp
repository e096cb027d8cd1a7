// Cuts each tensor operation into kernel calls and thread-pool tasks.

#include "core/training/tensor_ops.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

/// Elements of a task of a memory-bound operation: about 10 microseconds of work, more than passing
/// it to another thread costs.
constexpr std::size_t kChunk = 16384;
constexpr std::size_t kParallelElements = 4 * kChunk;

/// Calls body(begin, end) for chunks of [0, n), on the pool when n is large enough.
template <class Body>
void ForChunks(std::size_t n, std::size_t chunk, std::size_t parallel_from, const Body& body) {
  if (n == 0) return;
  if (n < parallel_from || chunk >= n) {
    body(std::size_t{0}, n);
    return;
  }
  ThreadPool::Shared().ParallelFor((n + chunk - 1) / chunk,
                                   [&](std::size_t task, std::size_t /*worker*/) {
                                     const std::size_t begin = task * chunk;
                                     body(begin, std::min(n, begin + chunk));
                                   });
}

/// ForChunks over rows of `width` elements, in chunks of about kChunk elements.
template <class Body>
void ForRows(std::size_t rows, std::size_t width, const Body& body) {
  const std::size_t per_task = std::max<std::size_t>(1, kChunk / std::max<std::size_t>(1, width));
  const std::size_t from = kParallelElements / std::max<std::size_t>(1, width) + 1;
  ForChunks(rows, per_task, from, body);
}

/// Drops axes of size 1, and merges neighbouring axes that both operands walk as one. The sizes are
/// at least 1.
BroadcastShape MergeAxes(const BroadcastShape& shape) {
  BroadcastShape s;
  for (std::size_t i = 0; i < shape.rank; ++i) {
    if (shape.sizes[i] == 1) continue;
    if (s.rank > 0) {
      const std::size_t last = s.rank - 1;
      if (s.a_strides[last] == shape.a_strides[i] * shape.sizes[i] &&
          s.b_strides[last] == shape.b_strides[i] * shape.sizes[i]) {
        s.sizes[last] *= shape.sizes[i];
        s.a_strides[last] = shape.a_strides[i];
        s.b_strides[last] = shape.b_strides[i];
        continue;
      }
    }
    s.sizes[s.rank] = shape.sizes[i];
    s.a_strides[s.rank] = shape.a_strides[i];
    s.b_strides[s.rank] = shape.b_strides[i];
    ++s.rank;
  }
  return s;
}

/// The axes of a transposed tensor in output order: their sizes, and their strides in the input.
struct TransposedAxes {
  std::size_t rank = 0;
  std::size_t total = 1;
  std::array<std::size_t, kMaxRank> size{};
  std::array<std::size_t, kMaxRank> stride{};
};

/// Drops axes of size 1, and merges neighbours that are also neighbours in the input.
TransposedAxes MergeTransposed(std::size_t rank, const std::size_t* sizes,
                               const std::size_t* permutation) {
  TransposedAxes axes;
  std::array<std::size_t, kMaxRank> input_strides{};
  for (std::size_t i = rank; i-- > 0;) {
    input_strides[i] = axes.total;
    axes.total *= sizes[i];
  }
  std::size_t& r = axes.rank;
  for (std::size_t i = 0; i < rank; ++i) {
    const std::size_t from = permutation[i];
    if (sizes[from] == 1) continue;
    if (r > 0 && axes.stride[r - 1] == input_strides[from] * sizes[from]) {
      axes.size[r - 1] *= sizes[from];
      axes.stride[r - 1] = input_strides[from];
      continue;
    }
    axes.size[r] = sizes[from];
    axes.stride[r] = input_strides[from];
    ++r;
  }
  return axes;
}

/// The case in which the innermost axis stays innermost: whole rows move.
void MoveRows(const TransposedAxes& axes, const float* a, float* out) {
  const std::size_t r = axes.rank;
  const std::size_t width = axes.size[r - 1];
  ForRows(axes.total / width, width, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      std::size_t rest = row;
      std::size_t offset = 0;
      for (std::size_t i = r - 1; i-- > 0;) {
        offset += rest % axes.size[i] * axes.stride[i];
        rest /= axes.size[i];
      }
      std::memcpy(out + row * width, a + offset, width * sizeof(float));
    }
  });
}

/// The case in which the input's innermost axis is at another output position `p`. For every index
/// of the other axes, this is a 2-D transpose of [size[r-1], size[p]]. It is cut into slabs of
/// columns, so that one long matrix still fills the pool.
void TransposeSlabs(const KernelTable& kernels, const TransposedAxes& axes, const float* a,
                    float* out) {
  const std::size_t r = axes.rank;
  std::size_t p = 0;
  while (axes.stride[p] != 1) ++p;
  std::array<std::size_t, kMaxRank> output_strides{};
  std::size_t step = 1;
  for (std::size_t i = r; i-- > 0;) {
    output_strides[i] = step;
    step *= axes.size[i];
  }
  const std::size_t rows = axes.size[r - 1];
  const std::size_t columns = axes.size[p];
  constexpr std::size_t kSlab = 64;
  const std::size_t slabs = (columns + kSlab - 1) / kSlab;
  const std::size_t matrices = axes.total / (rows * columns);
  ForRows(matrices * slabs, rows * std::min(columns, kSlab),
          [&](std::size_t begin, std::size_t end) {
            for (std::size_t task = begin; task < end; ++task) {
              std::size_t rest = task / slabs;
              const std::size_t first = task % slabs * kSlab;
              std::size_t from = first;
              std::size_t to = first * output_strides[p];
              for (std::size_t i = r - 1; i-- > 0;) {
                if (i == p) continue;
                const std::size_t index = rest % axes.size[i];
                rest /= axes.size[i];
                from += index * axes.stride[i];
                to += index * output_strides[i];
              }
              kernels.transpose(a + from, axes.stride[r - 1], rows,
                                std::min(kSlab, columns - first), out + to, output_strides[p]);
            }
          });
}

}  // namespace

void BroadcastBinary(const KernelTable& kernels, BinaryOp op, const float* a, const float* b,
                     const BroadcastShape& shape, float* out) {
  for (std::size_t i = 0; i < shape.rank; ++i) {
    if (shape.sizes[i] == 0) return;
  }
  const BroadcastShape s = MergeAxes(shape);
  if (s.rank == 0) {
    kernels.binary(op, BinaryForm::kBoth, a, b, 1, out);
    return;
  }
  const std::size_t inner = s.sizes[s.rank - 1];
  const std::size_t a_step = s.a_strides[s.rank - 1];
  const std::size_t b_step = s.b_strides[s.rank - 1];
  const bool fast = a_step <= 1 && b_step <= 1 && a_step + b_step > 0;
  const BinaryForm form = a_step == 0   ? BinaryForm::kScalarA
                          : b_step == 0 ? BinaryForm::kScalarB
                                        : BinaryForm::kBoth;
  const auto run = [&](const float* x, const float* y, std::size_t n, float* to) {
    if (fast) {
      kernels.binary(op, form, x, y, n, to);
      return;
    }
    for (std::size_t i = 0; i < n; ++i) {
      kernels.binary(op, BinaryForm::kBoth, x + i * a_step, y + i * b_step, 1, to + i);
    }
  };
  if (s.rank == 1) {
    ForChunks(inner, kChunk, kParallelElements, [&](std::size_t begin, std::size_t end) {
      run(a + begin * a_step, b + begin * b_step, end - begin, out + begin);
    });
    return;
  }
  std::size_t rows = 1;
  for (std::size_t i = 0; i + 1 < s.rank; ++i) rows *= s.sizes[i];
  ForRows(rows, inner, [&](std::size_t begin, std::size_t end) {
    // An odometer over the outer axes: offsets move by strides, with one division for each axis and
    // chunk.
    std::array<std::size_t, kMaxRank> index{};
    std::size_t a_offset = 0;
    std::size_t b_offset = 0;
    std::size_t rest = begin;
    for (std::size_t i = s.rank - 1; i-- > 0;) {
      index[i] = rest % s.sizes[i];
      rest /= s.sizes[i];
      a_offset += index[i] * s.a_strides[i];
      b_offset += index[i] * s.b_strides[i];
    }
    for (std::size_t row = begin; row < end; ++row) {
      run(a + a_offset, b + b_offset, inner, out + row * inner);
      for (std::size_t i = s.rank - 1; i-- > 0;) {
        a_offset += s.a_strides[i];
        b_offset += s.b_strides[i];
        if (++index[i] < s.sizes[i]) break;
        index[i] = 0;
        a_offset -= s.a_strides[i] * s.sizes[i];
        b_offset -= s.b_strides[i] * s.sizes[i];
      }
    }
  });
}

void ElementwiseUnary(const KernelTable& kernels, UnaryOp op, const float* a, std::size_t n,
                      float* out) {
  ForChunks(n, kChunk, kParallelElements, [&](std::size_t begin, std::size_t end) {
    kernels.unary(op, a + begin, end - begin, out + begin);
  });
}

void Reduce(const KernelTable& kernels, ReduceOp op, const float* a, std::size_t outer,
            std::size_t axis, std::size_t inner, float* out) {
  if (inner == 1) {
    ForRows(outer, axis, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        out[i] = kernels.reduce_row(op, a + i * axis, axis);
      }
    });
    return;
  }
  // 64 columns are whole cache lines, and two or more registers for every table.
  constexpr std::size_t kColumns = 64;
  const std::size_t blocks = (inner + kColumns - 1) / kColumns;
  ForRows(outer * blocks, axis * std::min(inner, kColumns),
          [&](std::size_t begin, std::size_t end) {
            for (std::size_t task = begin; task < end; ++task) {
              const std::size_t i = task / blocks;
              const std::size_t first = task % blocks * kColumns;
              kernels.reduce_columns(op, a + i * axis * inner + first, axis, inner,
                                     std::min(kColumns, inner - first), out + i * inner + first);
            }
          });
}

void Softmax(const KernelTable& kernels, const float* a, std::size_t rows, std::size_t columns,
             float* out) {
  // An exponential costs about four plain elements.
  ForRows(rows, columns * 4, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      kernels.softmax_row(a + i * columns, columns, out + i * columns);
    }
  });
}

void TransposeTensor(const KernelTable& kernels, const float* a, std::size_t rank,
                     const std::size_t* sizes, const std::size_t* permutation, float* out) {
  const TransposedAxes axes = MergeTransposed(rank, sizes, permutation);
  if (axes.total == 0) return;
  if (axes.rank <= 1) {
    std::memcpy(out, a, axes.total * sizeof(float));
  } else if (axes.stride[axes.rank - 1] == 1) {
    MoveRows(axes, a, out);
  } else {
    TransposeSlabs(kernels, axes, a, out);
  }
}

void CopyRows(const float* from, std::size_t from_stride, std::size_t rows, std::size_t run,
              float* to, std::size_t to_stride) {
  ForRows(rows, run, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      std::memcpy(to + i * to_stride, from + i * from_stride, run * sizeof(float));
    }
  });
}

Status GatherRows(const float* table, std::size_t table_rows, const std::int32_t* indices,
                  std::size_t count, std::size_t row_width, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    if (indices[i] < 0 || static_cast<std::size_t>(indices[i]) >= table_rows) {
      return Status::OutOfRange("Expected indices below " + std::to_string(table_rows) +
                                " in indices, received " + std::to_string(indices[i]) + " at " +
                                std::to_string(i) + ".");
    }
  }
  ForRows(count, row_width, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      std::memcpy(out + i * row_width, table + static_cast<std::size_t>(indices[i]) * row_width,
                  row_width * sizeof(float));
    }
  });
  return Status::Ok();
}

Status ScatterAddRows(const KernelTable& kernels, const float* source, const std::int32_t* indices,
                      std::size_t count, std::size_t row_width, std::size_t out_rows, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    if (indices[i] >= 0 && static_cast<std::size_t>(indices[i]) >= out_rows) {
      return Status::OutOfRange("Expected indices below " + std::to_string(out_rows) +
                                " in indices, received " + std::to_string(indices[i]) + " at " +
                                std::to_string(i) + ".");
    }
  }
  ForChunks(out_rows * row_width, 4 * kChunk, kParallelElements,
            [&](std::size_t begin, std::size_t end) {
              std::memset(out + begin, 0, (end - begin) * sizeof(float));
            });
  // Each task owns a range of output rows and walks all of `indices`, so every row is summed in
  // order of i.
  ThreadPool& pool = ThreadPool::Shared();
  const std::size_t owners =
      count * row_width < kParallelElements ? 1 : std::min(pool.size(), out_rows);
  if (owners == 0) return Status::Ok();
  pool.ParallelFor(owners, [&](std::size_t owner, std::size_t /*worker*/) {
    const std::size_t first = out_rows * owner / owners;
    const std::size_t end = out_rows * (owner + 1) / owners;
    for (std::size_t i = 0; i < count; ++i) {
      if (indices[i] < 0) continue;
      const std::size_t row = static_cast<std::size_t>(indices[i]);
      if (row < first || row >= end) continue;
      float* to = out + row * row_width;
      kernels.binary(BinaryOp::kAdd, BinaryForm::kBoth, to, source + i * row_width, row_width, to);
    }
  });
  return Status::Ok();
}

void AdamUpdate(const KernelTable& kernels, const AdamStep& step, const float* gradient,
                std::size_t n, float* parameter, float* m, float* v) {
  ForChunks(n, kChunk, kParallelElements, [&](std::size_t begin, std::size_t end) {
    kernels.adam(step, gradient + begin, end - begin, parameter + begin, m + begin, v + begin);
  });
}

Status AdamUpdateRows(const KernelTable& kernels, const AdamStep& step, const float* gradient,
                      const std::int32_t* rows, std::size_t count, std::size_t width,
                      std::size_t table_rows, float* parameter, float* m, float* v) {
  std::vector<bool> named;
  try {
    named.resize(table_rows);
  } catch (const std::bad_alloc&) {
    return Status::Internal("Out of memory for the rows of a table.");
  }
  for (std::size_t i = 0; i < count; ++i) {
    const bool inside = rows[i] >= 0 && static_cast<std::size_t>(rows[i]) < table_rows;
    if (!inside || named[static_cast<std::size_t>(rows[i])]) {
      return Status::OutOfRange("Expected each of the rows below " + std::to_string(table_rows) +
                                " at most once in rows, received " + std::to_string(rows[i]) +
                                " at " + std::to_string(i) + ".");
    }
    named[static_cast<std::size_t>(rows[i])] = true;
  }
  ForRows(count, width, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t at = static_cast<std::size_t>(rows[i]) * width;
      kernels.adam(step, gradient + i * width, width, parameter + at, m + at, v + at);
    }
  });
  return Status::Ok();
}

}  // namespace tandem
