// The only file that includes usearch. What it decides: the metric, the thread slots, and which bytes usearch may see.

#include "core/indexes/hnsw_index.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <shared_mutex>
#include <string>
#include <thread>
#include <usearch/index_dense.hpp>

#include "core/indexes/hnsw_links.h"
#include "core/indexes/vector_checks.h"
#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

namespace us = unum::usearch;
using Dense = us::index_dense_gt<std::uint64_t, std::uint32_t>;

constexpr std::size_t kMaxConnectivity = 1024;
constexpr std::size_t kMaxExpansion = 1 << 20;
constexpr std::size_t kMaxThreads = 256;
/// Searches that may run at the same time, each in a context of usearch's own; one more waits its turn.
constexpr std::size_t kSearchThreads = 64;

/// A free one of usearch's per-thread contexts, for as long as it lives.
class Context {
 public:
  explicit Context(std::array<std::atomic<bool>, kSearchThreads>* taken) : taken_(taken) {
    while ((*taken_)[index_].exchange(true, std::memory_order_acquire)) {
      index_ = (index_ + 1) % kSearchThreads;
      if (index_ == 0) std::this_thread::yield();
    }
  }
  ~Context() { (*taken_)[index_].store(false, std::memory_order_release); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  std::size_t index() const { return index_; }

 private:
  std::array<std::atomic<bool>, kSearchThreads>* taken_;
  std::size_t index_ = 0;
};

/// usearch hands two addresses and the dimensions; smaller is nearer there, so the sign turns. An instance for each
/// table, because a metric carries no state of its own.
template <const KernelTable& (*kKernels)() noexcept>
float NegatedDot(std::size_t a, std::size_t b, std::size_t dimensions) {
  return -kKernels().dot(reinterpret_cast<const float*>(a), reinterpret_cast<const float*>(b),
                         dimensions);
}

us::metric_punned_t MetricFor(const KernelTable& kernels, std::size_t dimensions) {
  float (*distance)(std::size_t, std::size_t, std::size_t) = NegatedDot<ScalarKernels>;
  // By entry, not by table: dispatch composes tables of its own out of these.
#if defined(__x86_64__)
  if (kernels.dot == Avx2Kernels().dot) distance = NegatedDot<Avx2Kernels>;
  if (kernels.dot == Avx512Kernels().dot) distance = NegatedDot<Avx512Kernels>;
#elif defined(__aarch64__)
  if (kernels.dot == NeonKernels().dot) distance = NegatedDot<NeonKernels>;
#endif
  return us::metric_punned_t::stateless(dimensions, reinterpret_cast<std::uintptr_t>(distance),
                                        us::metric_punned_signature_t::array_array_size_k,
                                        us::metric_kind_t::ip_k, us::scalar_kind_t::f32_k);
}

Status Invalid(const std::string& what) {
  return Status::IndexInvalid("Expected the bytes of an HNSW index written by this version, but " +
                              what + ". Publish the bundle again (tandem publish --index hnsw).");
}

/// Reads little-endian fields of the file and refuses to pass its end.
class Reader {
 public:
  Reader(const std::uint8_t* bytes, std::size_t size) : at_(bytes), left_(size) {}

  template <class T>
  bool Read(T* value) {
    if (left_ < sizeof(T)) return false;
    std::memcpy(value, at_, sizeof(T));
    Advance(sizeof(T));
    return true;
  }
  /// Null when fewer than `size` bytes are left.
  const std::uint8_t* Take(std::size_t size) {
    if (left_ < size) return nullptr;
    const std::uint8_t* start = at_;
    Advance(size);
    return start;
  }
  std::size_t left() const { return left_; }

 private:
  void Advance(std::size_t size) {
    at_ += size;
    left_ -= size;
  }
  const std::uint8_t* at_;
  std::size_t left_;
};

template <class T>
T LoadAt(const std::uint8_t* address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

constexpr std::size_t kHeadBytes = 64;
constexpr std::size_t kNodeHeadBytes = sizeof(std::uint64_t) + sizeof(std::int16_t);

/// Layout of usearch 2.x, index_dense.hpp save_to_stream and index.hpp save_to_stream:
///   u32 rows, u32 bytes per row, rows x bytes of vectors;
///   64-byte head: "usearch", 3 x u16 version, metric, scalar, key, slot kinds (u8 each), u64 present, deleted,
///   dimensions, u8 multi;
///   u64 size, connectivity M, base connectivity M0, max level, entry slot; i16 level of each node;
///   each node: u64 key, i16 level, then u32 count + M0 x u32 slots, then per upper level u32 count + M x u32 slots.
Status CheckBytes(const std::uint8_t* bytes, std::size_t size_bytes, std::size_t dimensions,
                  const KernelTable& kernels, std::size_t* rows_out) {
  Reader reader(bytes, size_bytes);
  std::uint32_t rows = 0;
  std::uint32_t row_bytes = 0;
  if (!reader.Read(&rows) || !reader.Read(&row_bytes)) return Invalid("they end in the header");
  if (row_bytes != dimensions * sizeof(float)) {
    return Invalid("their vectors take " + std::to_string(row_bytes) + " bytes, " +
                   std::to_string(dimensions) + " dimensions take " +
                   std::to_string(dimensions * sizeof(float)));
  }
  if (rows > static_cast<std::uint32_t>(std::numeric_limits<std::int32_t>::max())) {
    return Invalid("they claim " + std::to_string(rows) + " vectors");
  }
  const std::uint8_t* vectors = reader.Take(std::size_t{rows} * row_bytes);
  if (vectors == nullptr) return Invalid("they end within the vectors");

  const std::uint8_t* head = reader.Take(kHeadBytes);
  if (head == nullptr) return Invalid("they end in the head");
  if (std::memcmp(head, "usearch", 7) != 0) return Invalid("the magic word is missing");
  if (LoadAt<std::uint16_t>(head + 7) != USEARCH_VERSION_MAJOR ||
      LoadAt<std::uint16_t>(head + 9) < 10) {
    return Invalid("usearch " + std::to_string(LoadAt<std::uint16_t>(head + 7)) + "." +
                   std::to_string(LoadAt<std::uint16_t>(head + 9)) + " wrote them, this is " +
                   UsearchVersion());
  }
  const auto kind = [head](std::size_t at, auto expected) {
    return head[at] == static_cast<std::uint8_t>(expected);
  };
  if (!kind(13, us::metric_kind_t::ip_k) || !kind(14, us::scalar_kind_t::f32_k) ||
      !kind(15, us::scalar_kind_t::u64_k) || !kind(16, us::scalar_kind_t::u32_k)) {
    return Invalid("metric, vectors, keys or slots are of another kind");
  }
  if (LoadAt<std::uint64_t>(head + 17) != rows || LoadAt<std::uint64_t>(head + 25) != 0 ||
      LoadAt<std::uint64_t>(head + 33) != dimensions || head[41] != 0) {
    return Invalid("the counts in the head disagree with the vectors");
  }

  std::uint64_t graph[5] = {};
  if (!reader.Read(&graph)) return Invalid("they end in the graph header");
  const std::uint64_t connectivity = graph[1];
  const std::uint64_t connectivity_base = graph[2];
  const std::uint64_t max_level = graph[3];
  const std::uint64_t entry_slot = graph[4];
  if (graph[0] != rows) return Invalid("graph and vectors differ in size");
  if (connectivity < 2 || connectivity > kMaxConnectivity || connectivity_base < connectivity ||
      connectivity_base > 2 * kMaxConnectivity) {
    return Invalid("the connectivity is out of range");
  }
  if (rows == 0) {
    if (reader.left() != 0) return Invalid("bytes follow an empty graph");
    *rows_out = 0;
    return Status::Ok();
  }
  // Levels fall off geometrically with M >= 2: 64 would take 2^64 nodes.
  if (max_level > 64 || entry_slot >= rows) return Invalid("the entry point is out of range");
  const std::uint8_t* levels = reader.Take(std::size_t{rows} * sizeof(std::int16_t));
  if (levels == nullptr) return Invalid("they end within the levels");
  const auto level_of = [levels](std::size_t slot) {
    return LoadAt<std::int16_t>(levels + slot * sizeof(std::int16_t));
  };
  for (std::size_t slot = 0; slot < rows; ++slot) {
    const std::int16_t level = level_of(slot);
    if (level < 0 || static_cast<std::uint64_t>(level) > max_level) {
      return Invalid("the level of node " + std::to_string(slot) + " is out of range");
    }
  }
  if (static_cast<std::uint64_t>(level_of(entry_slot)) != max_level) {
    return Invalid("the entry point is not on the top level");
  }

  std::vector<bool> key_seen(rows, false);
  for (std::size_t slot = 0; slot < rows; ++slot) {
    const std::string node = "node " + std::to_string(slot);
    const std::uint8_t* start = reader.Take(kNodeHeadBytes);
    if (start == nullptr) return Invalid("they end within " + node);
    const std::uint64_t key = LoadAt<std::uint64_t>(start);
    const std::int16_t level = LoadAt<std::int16_t>(start + sizeof(std::uint64_t));
    if (key >= rows || key_seen[key]) return Invalid("the key of " + node + " is out of range");
    key_seen[key] = true;
    if (level != level_of(slot)) return Invalid("the level of " + node + " is given twice, unlike");
    for (std::int16_t l = 0; l <= level; ++l) {
      const std::uint64_t room = l == 0 ? connectivity_base : connectivity;
      std::uint32_t neighbours = 0;
      if (!reader.Read(&neighbours)) return Invalid("they end within " + node);
      if (neighbours > room) return Invalid(node + " has more neighbours than it has room for");
      const std::uint8_t* list = reader.Take(room * sizeof(std::uint32_t));
      if (list == nullptr) return Invalid("they end within " + node);
      for (std::size_t i = 0; i < neighbours; ++i) {
        const std::uint32_t to = LoadAt<std::uint32_t>(list + i * sizeof(std::uint32_t));
        // A neighbour below this level has no list there: following it would read past its node.
        if (to >= rows || level_of(to) < l) {
          return Invalid("a neighbour of " + node + " is out of range");
        }
      }
    }
  }
  if (reader.left() != 0) return Invalid("bytes follow the last node");

  // Not necessarily aligned to 4 in the caller's buffer, hence row by row through a copy.
  AlignedBuffer row;
  if (!row.Reserve(dimensions)) return Status::Internal("Out of memory for a vector.");
  for (std::size_t slot = 0; slot < rows; ++slot) {
    std::memcpy(row.data(), vectors + slot * row_bytes, row_bytes);
    if (!CheckVectors(kernels, row.data(), 1, dimensions, "vector").ok()) {
      return Invalid("the vector of node " + std::to_string(slot) + " is NaN, Inf or zero");
    }
  }
  *rows_out = rows;
  return Status::Ok();
}

}  // namespace

struct HnswIndex::Graph {
  Dense index;
  /// Shared by searches, held alone by the one that needs another expansion: usearch keeps it in the index.
  std::shared_mutex expansion;
  /// One flag for each of usearch's per-thread contexts.
  std::array<std::atomic<bool>, kSearchThreads> taken{};
};

HnswIndex::HnswIndex() = default;
HnswIndex::~HnswIndex() = default;

const char* UsearchVersion() {
  static const std::string version = std::to_string(USEARCH_VERSION_MAJOR) + "." +
                                     std::to_string(USEARCH_VERSION_MINOR) + "." +
                                     std::to_string(USEARCH_VERSION_PATCH);
  return version.c_str();
}

std::size_t HnswIndex::connectivity() const { return graph_->index.connectivity(); }

Status HnswIndex::Build(AlignedBuffer vectors, std::size_t size, std::size_t dimensions,
                        const HnswBuildOptions& options, const KernelTable& kernels,
                        std::atomic<std::size_t>* added, const std::atomic<bool>* cancel,
                        std::unique_ptr<HnswIndex>* index) {
  if (size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return Status::OutOfRange("Expected at most 2147483647 vectors, received " +
                              std::to_string(size) + ".");
  }
  if (options.connectivity == 1 || options.connectivity > kMaxConnectivity) {
    return Status::OutOfRange(
        "Expected 2 to 1024, or 0 for the default, for connectivity, received " +
        std::to_string(options.connectivity) + ".");
  }
  if (options.expansion_add > kMaxExpansion) {
    return Status::OutOfRange("Expected at most 1048576 for expansionAdd, received " +
                              std::to_string(options.expansion_add) + ".");
  }
  if (options.threads < 1 || options.threads > kMaxThreads) {
    return Status::OutOfRange("Expected 1 to 256 for threads, received " +
                              std::to_string(options.threads) + ".");
  }
  try {
    us::index_dense_config_t config(options.connectivity, options.expansion_add, 0);
    // Keys are found through the graph alone: no hash table from key to slot.
    config.enable_key_lookups = false;
    us::index_limits_t limits(size, std::max(options.threads, kSearchThreads));
    std::unique_ptr<HnswIndex> made(new HnswIndex());
    auto state = Dense::make(MetricFor(kernels, dimensions), config,
                             us::default_free_value<std::uint64_t>(), limits);
    if (!state) return Status::Internal(std::string("usearch: ") + state.error.release());
    made->graph_ = std::make_unique<Graph>();
    made->graph_->index = std::move(state.index);
    made->kernels_ = &kernels;
    made->size_ = size;
    made->dimensions_ = dimensions;
    made->vectors_ = std::move(vectors);

    Dense& dense = made->graph_->index;
    const float* rows = made->vectors_.data();
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    std::string failure;
    const auto add_one = [&](std::size_t row, std::size_t thread) {
      auto result = dense.add(row, rows + row * dimensions, thread, false);
      if (!result) {
        const char* message = result.error.release();
        if (!failed.exchange(true)) failure = message;
        return false;
      }
      added->fetch_add(1, std::memory_order_relaxed);
      return true;
    };
    const auto work = [&](std::size_t thread) {
      while (!failed.load(std::memory_order_relaxed) && !cancel->load(std::memory_order_relaxed)) {
        const std::size_t row = next.fetch_add(1, std::memory_order_relaxed);
        if (row >= size || !add_one(row, thread)) return;
      }
    };
    // The first node becomes the entry point without a lock in usearch, so it goes in before others join.
    if (size > 0) {
      next = 1;
      add_one(0, 0);
    }
    std::vector<std::thread> helpers;
    helpers.reserve(options.threads);
    for (std::size_t thread = 1; thread < options.threads; ++thread) {
      try {
        helpers.emplace_back(work, thread);
      } catch (const std::exception&) {
        break;  // Fewer threads than asked for build the same kind of index, only later.
      }
    }
    work(0);
    for (std::thread& helper : helpers) helper.join();
    if (failed) return Status::Internal("usearch: " + failure);
    if (cancel->load()) return Status::Internal("The build was cancelled.");
    const Status connected = made->Connect();
    if (!connected.ok()) return connected;
    *index = std::move(made);
    return Status::Ok();
  } catch (const std::exception& error) {
    return Status::Internal(std::string("Building the HNSW index failed: ") + error.what());
  }
}

Status HnswIndex::Connect() {
  std::vector<std::uint8_t> bytes(SerializedSize());
  Status status = Serialize(bytes.data(), bytes.size());
  std::size_t repaired = 0;
  if (status.ok()) status = ConnectEveryNode(bytes.data(), &repaired);
  if (!status.ok() || repaired == 0) return status;
  std::unique_ptr<HnswIndex> connected;
  status = Load(bytes.data(), bytes.size(), dimensions_, *kernels_, &connected);
  if (!status.ok()) return status;
  graph_ = std::move(connected->graph_);
  vectors_ = AlignedBuffer();
  return Status::Ok();
}

Status HnswIndex::Load(const std::uint8_t* bytes, std::size_t size_bytes, std::size_t dimensions,
                       const KernelTable& kernels, std::unique_ptr<HnswIndex>* index) {
  try {
    std::size_t rows = 0;
    const Status status = CheckBytes(bytes, size_bytes, dimensions, kernels, &rows);
    if (!status.ok()) return status;
    us::index_dense_config_t config;
    config.enable_key_lookups = false;
    const us::metric_punned_t metric = MetricFor(kernels, dimensions);
    auto state = Dense::make(metric, config, us::default_free_value<std::uint64_t>(),
                             us::index_limits_t(0, kSearchThreads));
    if (!state) return Status::Internal(std::string("usearch: ") + state.error.release());
    std::unique_ptr<HnswIndex> made(new HnswIndex());
    made->graph_ = std::make_unique<Graph>();
    made->graph_->index = std::move(state.index);
    Dense& dense = made->graph_->index;
    if (rows > 0) {
      std::size_t offset = 0;
      auto result = dense.load_from_stream([&](void* to, std::size_t length) {
        if (length > size_bytes - offset) return false;
        std::memcpy(to, bytes + offset, length);
        offset += length;
        return true;
      });
      if (!result) return Invalid(std::string("usearch refused them: ") + result.error.release());
      // Loading put usearch's own metric in place.
      if (!dense.try_change_metric(metric)) return Status::Internal("Out of memory for the index.");
    }
    made->kernels_ = &kernels;
    made->size_ = rows;
    made->dimensions_ = dimensions;
    *index = std::move(made);
    return Status::Ok();
  } catch (const std::exception& error) {
    return Status::Internal(std::string("Loading the HNSW index failed: ") + error.what());
  }
}

Status HnswIndex::Search(const float* queries, std::size_t count, std::size_t k,
                         std::size_t expansion, const BitsetView& allow,
                         const SearchRows& out) const {
  const Status status = CheckVectors(*kernels_, queries, count, dimensions_, "queries");
  if (!status.ok()) return status;
  if (expansion > kMaxExpansion) {
    return Status::OutOfRange("Expected at most 1048576 for expansionSearch, received " +
                              std::to_string(expansion) + ".");
  }
  Dense& dense = graph_->index;
  // More than there are nodes changes no result and would reserve memory for nothing.
  const std::size_t wanted = std::min(k, size_);
  const std::size_t in_view = std::max<std::size_t>(1, std::min(std::max(expansion, k), size_));
  std::shared_lock<std::shared_mutex> shared(graph_->expansion);
  std::unique_lock<std::shared_mutex> alone(graph_->expansion, std::defer_lock);
  if (dense.expansion_search() != in_view) {
    shared.unlock();
    alone.lock();
    dense.change_expansion_search(in_view);
  }
  std::atomic<const char*> failure{nullptr};
  std::atomic<bool> enough{true};
  const auto search_one = [&](std::size_t query, std::size_t /*worker*/) {
    thread_local TopK top;
    try {
      top.Start(k);
    } catch (const std::exception&) {
      enough = false;
      return;
    }
    if (wanted > 0) {
      const float* vector = queries + query * dimensions_;
      const auto take = [&](auto&& result) {
        if (!result) {
          failure = result.error.release();
          return;
        }
        for (std::size_t i = 0; i < result.size(); ++i) {
          const auto match = result[i];
          const std::uint64_t key = match.member.key;
          // The distance is our own dot product negated, which is exact.
          top.Offer(-match.distance, static_cast<std::uint32_t>(key));
        }
      };
      const Context context(&graph_->taken);
      if (allow.everything()) {
        take(dense.search(vector, wanted, context.index()));
      } else {
        const auto allowed = [&allow](std::uint64_t key) noexcept { return allow.Test(key); };
        take(dense.filtered_search(vector, wanted, allowed, context.index()));
      }
    }
    out.counts[query] =
        static_cast<std::int32_t>(top.Finish(out.slots + query * k, out.scores + query * k));
  };
  if (count >= 4) {
    ThreadPool::Shared().ParallelFor(count, search_one);
  } else {
    for (std::size_t query = 0; query < count; ++query) search_one(query, 0);
  }
  if (const char* message = failure.load()) {
    return Status::Internal(std::string("usearch: ") + message);
  }
  if (enough) return Status::Ok();
  return Status::Internal("Out of memory for a search of " + std::to_string(k) + " hits.");
}

std::size_t HnswIndex::SerializedSize() const {
  // usearch's own serialized_length() leaves the graph header out, so the bytes are counted.
  std::size_t size = 0;
  const auto result = graph_->index.save_to_stream([&size](const void*, std::size_t length) {
    size += length;
    return true;
  });
  return result ? size : 0;
}

Status HnswIndex::Serialize(std::uint8_t* out, std::size_t size_bytes) const {
  std::size_t offset = 0;
  auto result = graph_->index.save_to_stream([&](const void* from, std::size_t length) {
    if (length > size_bytes - offset) return false;
    std::memcpy(out + offset, from, length);
    offset += length;
    return true;
  });
  if (!result) return Status::Internal(std::string("usearch: ") + result.error.release());
  if (offset != size_bytes) return Status::Internal("The index changed while it was serialised.");
  return Status::Ok();
}

}  // namespace tandem
