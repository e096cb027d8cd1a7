// The history encoder turns users' events into their states: the Transformer of
// docs/explanation/model.md without the parts that only training needs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/runtime/aligned_buffer.h"
#include "core/runtime/status.h"
#include "core/runtime/thread_pool.h"
#include "core/runtime/views.h"
#include "core/towers/item_inputs.h"
#include "core/towers/linear.h"
#include "kernels/kernels.h"

namespace tandem {

/// Shapes as in EncoderBlockWeights of src/native, row-major, out-features first.
struct EncoderBlockViews {
  FloatView attention_norm_scale;        // [D]
  FloatView attention_norm_offset;       // [D]
  FloatView query_weight;                // [D, D]
  FloatView query_bias;                  // [D]
  FloatView key_weight;                  // [D, D]
  FloatView key_bias;                    // [D]
  FloatView value_weight;                // [D, D]
  FloatView value_bias;                  // [D]
  FloatView attention_output_weight;     // [D, D]
  FloatView attention_output_bias;       // [D]
  FloatView feed_forward_norm_scale;     // [D]
  FloatView feed_forward_norm_offset;    // [D]
  FloatView feed_forward_weight;         // [F, D]
  FloatView feed_forward_bias;           // [F]
  FloatView feed_forward_output_weight;  // [D, F]
  FloatView feed_forward_output_bias;    // [D]
};

/// Shapes as in EncoderWeights of src/native. Read only while Create runs.
struct EncoderWeightViews {
  std::size_t embedding_width = 0;     // D
  std::size_t heads = 0;               // divides D
  std::size_t feed_forward_width = 0;  // F
  std::size_t max_history = 0;         // T
  std::size_t action_width = 0;        // A
  ItemInputViews items;
  FloatView action_table;    // [actions, A]
  FloatView gap_table;       // [gaps, D]
  FloatView position_table;  // [T, D], the newest event has the last row
  FloatView input_weight;    // [D, D + A]
  FloatView input_bias;      // [D]
  std::vector<EncoderBlockViews> blocks;
  FloatView norm_scale;   // [D]
  FloatView norm_offset;  // [D]
  bool has_mean = false;
  FloatView mean_weight;  // [D, D], of the mean of the history's items
};

/// Histories without padding: user b has the events [offsets[b], offsets[b + 1]), oldest first, at
/// most T of them.
struct HistoryViews {
  std::size_t count = 0;
  Int32View offsets;  // [count + 1]
  Int32View items;    // rows of the catalogue
  Int32View actions;  // rows of the action table
  Int32View gaps;     // rows of the gap table
};

/// Which rows of the last layer are a user's state: all of them for a head that attends over the
/// history, otherwise only the newest one.
enum class StateRows { kNewest, kAll };

/// Owns its packed weights, the projected item table and the scratch of every worker. Only one call
/// may run at a time.
class Encoder {
 public:
  /// OutOfRange names the field with a wrong length or row; NonFinite names the one that holds NaN
  /// or Inf.
  static Status Create(const EncoderWeightViews& weights, Precision precision, StateRows rows,
                       const KernelTable& kernels, ThreadPool& pool,
                       std::unique_ptr<Encoder>* encoder);

  /// Computes user states. With kNewest, out is [count, D] and a user without events gets the zero
  /// state. With kAll, out is [offsets[count], D], one row for each event in the order of the
  /// batch.
  ///
  /// A state depends only on the events of its user, to the last bit: not on the other users of the
  /// batch, nor on the pool's threads. OutOfRange names the position of a wrong value; NonFinite
  /// names the first user whose state is NaN or Inf.
  Status Encode(const HistoryViews& batch, ThreadPool& pool, float* out, std::size_t out_size);

  const KernelTable& kernels() const { return *kernels_; }
  Precision precision() const { return precision_; }
  StateRows state_rows() const { return rows_; }
  std::size_t embedding_width() const { return width_; }

 private:
  /// Weights of a layer norm.
  struct Norm {
    AlignedBuffer scale;
    AlignedBuffer offset;
  };
  /// The layers that follow attention in every block.
  struct BlockTail {
    Linear attention_output;
    Norm feed_forward_norm;
    Linear feed_forward;
    Linear feed_forward_output;
  };
  /// A block whose output at every position is read by the next block.
  struct FullBlock {
    Norm attention_norm;
    Linear query_key_value;  // stacked [3 D, D], queries scaled
    BlockTail tail;
  };
  /// The last block under kNewest, which is only computed for the newest event of each user.
  struct LastBlock {
    Norm attention_norm;
    Linear query;
    std::vector<Linear> keys;    // by head: query [D / heads] to input space [D]
    std::vector<Linear> values;  // by head: mixed input [D] to value [D / heads]
    BlockTail tail;
  };
  /// Users that one thread takes through all layers.
  struct UserRange {
    std::size_t begin;
    std::size_t end;
  };
  /// Scratch of one thread.
  struct Worker {
    AlignedBuffer x;            // [tokens, D], the residual stream
    AlignedBuffer normed;       // [tokens, D], what a layer reads
    AlignedBuffer projected;    // [tokens, 3 D]
    AlignedBuffer hidden;       // [kRows, F]
    AlignedBuffer keys;         // packed, of one user and head
    AlignedBuffer scores;       // [kQueryRows or heads, T]
    AlignedBuffer last_x;       // [users, D]
    AlignedBuffer last_normed;  // [users, D]
    AlignedBuffer queries;      // [users, D]
    AlignedBuffer absorbed;     // [users, heads, D]
    AlignedBuffer rounded;      // bf16 [kRows, widest input]
    AlignedBuffer sum;          // [D]
  };

  Encoder(const KernelTable& kernels, Precision precision, StateRows rows)
      : kernels_(&kernels), precision_(precision), rows_(rows) {}

  static Status TryCreate(const EncoderWeightViews& weights, Precision precision, StateRows rows,
                          const KernelTable& kernels, ThreadPool& pool,
                          std::unique_ptr<Encoder>* encoder);
  Status SetItems(const EncoderWeightViews& weights, ThreadPool& pool);
  Status SetEvents(const EncoderWeightViews& weights);
  bool SetFull(const EncoderBlockViews& block, FullBlock* made) const;
  bool SetLast(const EncoderBlockViews& block);
  bool SetTail(const EncoderBlockViews& block, BlockTail* made) const;

  Status CheckBatch(const HistoryViews& batch, std::size_t out_size) const;
  void Split(const HistoryViews& batch, std::size_t threads);
  bool ReserveWorker(Worker* worker) const;
  bool EncodeUsers(const HistoryViews& batch, const UserRange& users, Worker& worker, float* out,
                   std::atomic<std::size_t>* bad_user) const;
  void WriteInputs(const HistoryViews& batch, const UserRange& users, float* x) const;
  void RunFull(const FullBlock& block, const HistoryViews& batch, const UserRange& users,
               Worker& worker) const;
  void Attend(const float* projected, std::size_t length, Worker& worker, float* out) const;
  void RunLast(const HistoryViews& batch, const UserRange& users, Worker& worker) const;
  std::size_t TakeNewest(const HistoryViews& batch, const UserRange& users, Worker& worker) const;
  void AttendNewest(const HistoryViews& batch, const UserRange& users, Worker& worker) const;
  void RunTail(const BlockTail& tail, const float* attended, std::size_t rows, Worker& worker,
               float* x) const;
  void AddMeans(const HistoryViews& batch, std::size_t user, std::size_t rows, Worker& worker,
                float* states) const;
  void Normalise(const Norm& norm, const float* x, std::size_t rows, float* out) const;

  const KernelTable* kernels_;
  Precision precision_;
  StateRows rows_;
  std::size_t width_ = 0;
  std::size_t heads_ = 0;
  std::size_t head_width_ = 0;
  std::size_t hidden_width_ = 0;
  std::size_t max_history_ = 0;
  std::size_t items_ = 0;
  std::size_t actions_ = 0;
  std::size_t gaps_ = 0;

  AlignedBuffer item_table_;    // [N, D], projected
  AlignedBuffer mean_table_;    // [N, D], what an item adds to the mean; may be empty
  AlignedBuffer action_table_;  // [actions, D], projected, with the input bias
  AlignedBuffer gap_table_;
  AlignedBuffer position_table_;
  std::vector<FullBlock> full_blocks_;  // all blocks under kAll, else all but the last
  LastBlock last_block_;
  Norm norm_;

  std::vector<UserRange> ranges_;
  std::vector<Worker> workers_;
};

}  // namespace tandem
