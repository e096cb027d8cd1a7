// Causal attention and its gradient. A thread takes a user through all heads, in blocks of queries
// against the events up to the last of them, so that the future is not computed.

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/gemm.h"
#include "core/runtime/thread_pool.h"
#include "core/training/training_ops.h"

namespace tandem {
namespace {

/// Queries that attend together, as in encoder.cpp: a multiple of every row tile, small against a
/// history.
constexpr std::size_t kQueryRows = 24;

/// Scratch of one thread for one head.
struct Scratch {
  /// Keys and values as panels of [head width, T], times 1 / sqrt(head width).
  AlignedBuffer keys;
  AlignedBuffer values;
  /// [kQueryRows, stride]: weights, and their gradient.
  AlignedBuffer weights;
  AlignedBuffer gradient;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

/// Attention of one head of one user. Pointers refer to the head's columns of the user's first row.
class Head {
 public:
  Head(const KernelTable& kernels, const AttentionShape& shape, std::size_t length)
      : kernels_(kernels),
        width_(shape.width),
        head_width_(shape.width / shape.heads),
        length_(length),
        // Not a multiple of 4 KiB: the columns of a block would share one set of the cache.
        stride_(RoundUp(length, 16) + 16),
        scratch_(ThreadScratch()) {}

  bool Reserve() {
    const std::size_t panels = PackedSize(kernels_, head_width_, length_);
    return scratch_.keys.Reserve(panels) && scratch_.values.Reserve(panels) &&
           scratch_.weights.Reserve(kQueryRows * stride_) &&
           scratch_.gradient.Reserve(kQueryRows * stride_);
  }

  void Forward(const float* q, const float* k, const float* v, float* out) {
    PackScaled(k, scratch_.keys.data());
    for (std::size_t first = 0; first < length_; first += kQueryRows) {
      const std::size_t rows = std::min(kQueryRows, length_ - first);
      Weigh(q, first, rows);
      Mix(scratch_.weights.data(), first, rows, v, out);
    }
  }

  /// With weights P and dP = dy v^T: dv = P^T dy, dS = P (dP - rowsum(P dP)), dq = dS k / sqrt(w),
  /// dk = dS^T q / sqrt(w), where w is the head width.
  void Backward(const float* q, const float* k, const float* v, const float* dy, float* dq,
                float* dk, float* dv) {
    PackScaled(k, scratch_.keys.data());
    // The values carry the scale of dS.
    PackScaled(v, scratch_.values.data());
    float* const weights = scratch_.weights.data();
    float* const gradient = scratch_.gradient.data();
    // The newest queries go first: they see every event, so they overwrite dk and dv, and the
    // others add.
    const std::size_t blocks = (length_ + kQueryRows - 1) / kQueryRows;
    for (std::size_t block = blocks; block-- > 0;) {
      const std::size_t first = block * kQueryRows;
      const std::size_t rows = std::min(kQueryRows, length_ - first);
      const std::size_t seen = first + rows;
      const bool accumulate = block + 1 < blocks;
      Weigh(q, first, rows);
      Spread(weights, first, rows, dy, accumulate, dv);
      Multiply(dy, first, rows, scratch_.values.data(), gradient);
      for (std::size_t r = 0; r < rows; ++r) {
        const float* const p = weights + r * stride_;
        float* const g = gradient + r * stride_;
        const float mean = kernels_.dot(p, g, seen);
        kernels_.binary(BinaryOp::kSub, BinaryForm::kScalarB, g, &mean, seen, g);
        kernels_.binary(BinaryOp::kMul, BinaryForm::kBoth, g, p, seen, g);
      }
      Mix(gradient, first, rows, k, dq);
      Spread(gradient, first, rows, q, accumulate, dk);
    }
  }

 private:
  /// Packs rows [length, head width] as panels of [head width, length], divided by sqrt(head
  /// width).
  void PackScaled(const float* rows, float* panels) const {
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_width_));
    PackPanels(kernels_, rows, width_, true, head_width_, length_, panels);
    kernels_.binary(BinaryOp::kMul, BinaryForm::kScalarB, panels, &scale,
                    PackedSize(kernels_, head_width_, length_), panels);
  }

  /// out [rows, first + rows] = a panels, for rows [first, first + rows) of a.
  void Multiply(const float* a, std::size_t first, std::size_t rows, const float* panels,
                float* out) const {
    const ptrdiff_t tile = static_cast<ptrdiff_t>(kernels_.column_tile);
    GemmBlock g = {};
    g.a = a + first * width_;
    g.a_row_stride = static_cast<ptrdiff_t>(width_);
    g.a_k_stride = 1;
    g.b = panels;
    g.b_k_stride = tile;
    g.b_panel_stride = tile * static_cast<ptrdiff_t>(head_width_);
    g.m = rows;
    g.n = first + rows;
    g.k = head_width_;
    g.c = out;
    g.c_row_stride = static_cast<ptrdiff_t>(stride_);
    kernels_.gemm(g);
  }

  void Weigh(const float* q, std::size_t first, std::size_t rows) const {
    Multiply(q, first, rows, scratch_.keys.data(), scratch_.weights.data());
    kernels_.softmax_causal(scratch_.weights.data(), stride_, rows, first);
  }

  /// Rows [first, first + rows) of out = block [rows, first + rows] b.
  void Mix(const float* block, std::size_t first, std::size_t rows, const float* b,
           float* out) const {
    GemmBlock g = {};
    g.a = block;
    g.a_row_stride = static_cast<ptrdiff_t>(stride_);
    g.a_k_stride = 1;
    g.b = b;
    g.b_k_stride = static_cast<ptrdiff_t>(width_);
    g.b_panel_stride = static_cast<ptrdiff_t>(kernels_.column_tile);
    g.m = rows;
    g.n = head_width_;
    g.k = first + rows;
    g.c = out + first * width_;
    g.c_row_stride = static_cast<ptrdiff_t>(width_);
    kernels_.gemm(g);
  }

  /// Rows [0, first + rows) of out (+)= block^T b, b the rows [first, first + rows).
  void Spread(const float* block, std::size_t first, std::size_t rows, const float* b,
              bool accumulate, float* out) const {
    GemmBlock g = {};
    g.a = block;
    g.a_row_stride = 1;
    g.a_k_stride = static_cast<ptrdiff_t>(stride_);
    g.b = b + first * width_;
    g.b_k_stride = static_cast<ptrdiff_t>(width_);
    g.b_panel_stride = static_cast<ptrdiff_t>(kernels_.column_tile);
    g.m = first + rows;
    g.n = head_width_;
    g.k = rows;
    g.accumulate = accumulate;
    g.c = out;
    g.c_row_stride = static_cast<ptrdiff_t>(width_);
    kernels_.gemm(g);
  }

  const KernelTable& kernels_;
  std::size_t width_;
  std::size_t head_width_;
  std::size_t length_;
  std::size_t stride_;
  Scratch& scratch_;
};

/// Calls body(head, offset of its first element) for every head of every user over the pool.
template <class Body>
Status ForHeads(const KernelTable& kernels, const AttentionShape& shape, const Body& body) {
  std::atomic<bool> enough{true};
  ThreadPool::Shared().ParallelFor(shape.batch, [&](std::size_t user, std::size_t /*worker*/) {
    const std::size_t begin = static_cast<std::size_t>(shape.offsets[user]);
    const std::size_t length = static_cast<std::size_t>(shape.offsets[user + 1]) - begin;
    if (length == 0) return;
    Head head(kernels, shape, length);
    if (!head.Reserve()) {
      enough = false;
      return;
    }
    for (std::size_t h = 0; h < shape.heads; ++h) {
      body(head, begin * shape.width + h * (shape.width / shape.heads));
    }
  });
  return enough ? Status::Ok() : Status::Internal("Out of memory for attention.");
}

}  // namespace

Status CausalAttention(const KernelTable& kernels, const AttentionShape& shape, const float* q,
                       const float* k, const float* v, float* out) {
  return ForHeads(kernels, shape, [&](Head& head, std::size_t at) {
    head.Forward(q + at, k + at, v + at, out + at);
  });
}

Status CausalAttentionBackward(const KernelTable& kernels, const AttentionShape& shape,
                               const float* q, const float* k, const float* v, const float* dy,
                               float* dq, float* dk, float* dv) {
  return ForHeads(kernels, shape, [&](Head& head, std::size_t at) {
    head.Backward(q + at, k + at, v + at, dy + at, dq + at, dk + at, dv + at);
  });
}

}  // namespace tandem
