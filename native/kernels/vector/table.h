// The kernel table of a SIMD instruction set: the bodies in this folder are shared by all of them
// and are written over a register type V that each instruction set defines.
//
// V lives in an anonymous namespace, so every instance of these templates has internal linkage.
// Otherwise the linker could pick a weak symbol that was compiled with AVX-512 for an older CPU.
// Keep every function inside a template over V or in an anonymous namespace.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector/adam.h"
#include "kernels/vector/bf16.h"
#include "kernels/vector/codes.h"
#include "kernels/vector/dot.h"
#include "kernels/vector/elementwise.h"
#include "kernels/vector/gemm.h"
#include "kernels/vector/layer_norm.h"
#include "kernels/vector/reductions.h"
#include "kernels/vector/softmax.h"
#include "kernels/vector/transpose.h"
#include "kernels/vector/weighted_sum.h"

namespace tandem {

/// V provides kLanes, kRowTile, F (a register), Mask (of the lanes of F), and the operations that
/// the bodies use.
template <class V>
constexpr KernelTable VectorTable(const char* isa) {
  KernelTable table = {};
  table.isa = isa;
  table.column_tile = VectorGemm<V>::kColumnTile;
  table.gemm = VectorGemm<V>::Gemm;
  table.dot = VectorDot<V>::Dot;
  table.dot_block = VectorDot<V>::DotBlock;
  table.to_bf16 = VectorBf16<V>::ToBf16;
  table.gemm_bf16 = VectorBf16<V>::Gemm;
  table.scan_codes = VectorCodes<V>::Scan;
  table.select_above_int = VectorCodes<V>::SelectAboveInt;
  table.select_above = VectorDot<V>::SelectAbove;
  table.all_finite = VectorReductions<V>::AllFinite;
  table.axpy = VectorWeightedSum<V>::Axpy;
  table.bag = VectorWeightedSum<V>::Bag;
  table.unary = VectorElementwise<V>::Unary;
  table.binary = VectorElementwise<V>::Binary;
  table.reduce_row = VectorReductions<V>::ReduceRow;
  table.reduce_columns = VectorReductions<V>::ReduceColumns;
  table.softmax_row = VectorSoftmax<V>::SoftmaxRow;
  table.softmax_causal = VectorSoftmax<V>::SoftmaxCausal;
  table.layer_norm = VectorLayerNorm<V>::LayerNorm;
  table.layer_norm_backward = VectorLayerNorm<V>::LayerNormBackward;
  table.dropout = VectorElementwise<V>::Dropout;
  table.transpose = VectorTranspose<V>::Transpose;
  table.adam = VectorAdam<V>::Adam;
  return table;
}

}  // namespace tandem
