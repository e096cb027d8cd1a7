// A dense layer over packed weights, in f32 or with operands rounded to bf16. It does not know
// where its input comes from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/gemm.h"
#include "kernels/kernels.h"

namespace tandem {

/// Type of the operands of matrix products. Sums, and everything between products, are f32 in both
/// cases.
enum class Precision { kF32, kBf16 };

/// y = x W + b for rows x [k], W [k, n].
class Linear {
 public:
  /// Rows that one product takes at a time: 96 x 64 floats of input are 24 KiB and stay in L1 while
  /// the panels of W pass. A multiple of every row tile.
  static constexpr std::size_t kRows = 96;

  enum class Into { kOverwrite, kOverwriteRelu, kAdd };

  /// Packs w, which is stored [n, k] when `transposed` (the layout of PyTorch and tfjs checkpoints)
  /// and [k, n] otherwise, with rows `stride` apart. bias is [n] or null. False when memory is
  /// short.
  bool Pack(const KernelTable& kernels, Precision precision, const float* w, std::size_t stride,
            bool transposed, std::size_t k, std::size_t n, const float* bias) {
    inputs_ = k;
    outputs_ = n;
    bf16_ = precision == Precision::kBf16;
    has_bias_ = bias != nullptr;
    if (has_bias_) {
      if (!bias_.Reserve(n)) return false;
      std::memcpy(bias_.data(), bias, n * sizeof(float));
    }
    if (bf16_) {
      if (!panels_.Reserve((PackedBf16Size(kernels, k, n) + 1) / 2)) return false;
      PackBf16Panels(kernels, w, stride, transposed, k, n, Bf16(panels_));
    } else {
      if (!panels_.Reserve(PackedSize(kernels, k, n))) return false;
      PackPanels(kernels, w, stride, transposed, k, n, panels_.data());
    }
    return true;
  }

  std::size_t outputs() const { return outputs_; }

  /// Floats of scratch that Apply needs for rounded rows of at most `inputs` columns; 0 for f32.
  static std::size_t ScratchSize(Precision precision, std::size_t inputs) {
    return precision == Precision::kBf16 ? kRows * RoundUp(inputs, 2) / 2 : 0;
  }

  /// c [rows, n] = (c +) x W + b, with x [rows, k]; rows of x and c are `x_stride` and `c_stride`
  /// apart. No row influences the sums of another.
  void Apply(const KernelTable& kernels, const float* x, std::size_t x_stride, std::size_t rows,
             Into into, float* c, std::size_t c_stride, AlignedBuffer& scratch) const {
    for (std::size_t row = 0; row < rows; row += kRows) {
      const std::size_t m = std::min(kRows, rows - row);
      const float* from = x + row * x_stride;
      float* to = c + row * c_stride;
      if (bf16_) {
        Bf16GemmBlock g = {};
        const std::size_t k = RoundUp(inputs_, 2);
        g.a = Round(kernels, from, x_stride, m, k, Bf16(scratch));
        g.a_row_stride = static_cast<ptrdiff_t>(k);
        g.b = Bf16(panels_);
        g.k = k;
        Fill(g, m, into, to, c_stride);
        kernels.gemm_bf16(g);
      } else {
        GemmBlock g = {};
        const ptrdiff_t tile = static_cast<ptrdiff_t>(kernels.column_tile);
        g.a = from;
        g.a_row_stride = static_cast<ptrdiff_t>(x_stride);
        g.a_k_stride = 1;
        g.b = panels_.data();
        g.b_k_stride = tile;
        g.b_panel_stride = tile * static_cast<ptrdiff_t>(inputs_);
        g.k = inputs_;
        Fill(g, m, into, to, c_stride);
        kernels.gemm(g);
      }
    }
  }

 private:
  static std::uint16_t* Bf16(AlignedBuffer& buffer) {
    return reinterpret_cast<std::uint16_t*>(buffer.data());
  }
  static const std::uint16_t* Bf16(const AlignedBuffer& buffer) {
    return reinterpret_cast<const std::uint16_t*>(buffer.data());
  }

  template <class Block>
  void Fill(Block& g, std::size_t m, Into into, float* c, std::size_t c_stride) const {
    g.m = m;
    g.n = outputs_;
    g.bias = has_bias_ ? bias_.data() : nullptr;
    g.accumulate = into == Into::kAdd;
    g.relu = into == Into::kOverwriteRelu;
    g.c = c;
    g.c_row_stride = static_cast<ptrdiff_t>(c_stride);
  }

  /// Rounds rows of x to bf16, `k` apart; an odd last column is followed by a zero.
  const std::uint16_t* Round(const KernelTable& kernels, const float* x, std::size_t x_stride,
                             std::size_t rows, std::size_t k, std::uint16_t* out) const {
    if (x_stride == k && inputs_ == k) {
      kernels.to_bf16(x, rows * k, out);
      return out;
    }
    for (std::size_t r = 0; r < rows; ++r) {
      kernels.to_bf16(x + r * x_stride, inputs_, out + r * k);
      if (inputs_ < k) out[r * k + inputs_] = 0;
    }
    return out;
  }

  std::size_t inputs_ = 0;
  std::size_t outputs_ = 0;
  bool bf16_ = false;
  bool has_bias_ = false;
  AlignedBuffer panels_;
  AlignedBuffer bias_;
};

}  // namespace tandem
