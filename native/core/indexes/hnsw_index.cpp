// The only file that includes usearch. It decides the metric, the number of concurrent searches,
// and which bytes usearch may see.

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

#include "core/indexes/hnsw_file.h"
#include "core/indexes/hnsw_links.h"
#include "core/indexes/top_k.h"
#include "core/indexes/vector_checks.h"
#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

namespace us = unum::usearch;
using Dense = us::index_dense_gt<std::uint64_t, std::uint32_t>;

constexpr std::size_t kMaxExpansion = 1 << 20;
constexpr std::size_t kMaxThreads = 256;
/// Searches that may run at the same time, each in a context of usearch's. Another search waits for
/// a free context.
constexpr std::size_t kSearchThreads = 64;

/// Holds one of usearch's per-thread contexts as long as it lives.
class Context {
 public:
  explicit Context(std::array<std::atomic<bool>, kSearchThreads>* in_use) : in_use_(in_use) {
    while ((*in_use_)[index_].exchange(true, std::memory_order_acquire)) {
      index_ = (index_ + 1) % kSearchThreads;
      if (index_ == 0) std::this_thread::yield();
    }
  }
  ~Context() { (*in_use_)[index_].store(false, std::memory_order_release); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  std::size_t index() const { return index_; }

 private:
  std::array<std::atomic<bool>, kSearchThreads>* in_use_;
  std::size_t index_ = 0;
};

/// usearch passes two addresses and the dimensions. In usearch a smaller distance is nearer, hence
/// the sign. A metric carries no state of its own, so each kernel table needs its own instance.
template <const KernelTable& (*kKernels)() noexcept>
float NegatedDot(std::size_t a, std::size_t b, std::size_t dimensions) {
  return -kKernels().dot(reinterpret_cast<const float*>(a), reinterpret_cast<const float*>(b),
                         dimensions);
}

us::metric_punned_t MetricFor(const KernelTable& kernels, std::size_t dimensions) {
  float (*distance)(std::size_t, std::size_t, std::size_t) = NegatedDot<ScalarKernels>;
  // The entry is compared, not the table: dispatch composes other tables out of these.
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

HnswFileKinds FileKinds() {
  const auto number = [](auto kind) { return static_cast<std::uint8_t>(kind); };
  return {USEARCH_VERSION_MAJOR,
          UsearchVersion(),
          number(us::metric_kind_t::ip_k),
          number(us::scalar_kind_t::f32_k),
          number(us::scalar_kind_t::u64_k),
          number(us::scalar_kind_t::u32_k)};
}

Status CheckBuild(std::size_t size, const HnswBuildOptions& options) {
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
  return Status::Ok();
}

/// Adds rows [size, dimensions] to an empty graph on `threads` threads, the calling one among them.
Status AddRows(const float* rows, std::size_t size, std::size_t dimensions, std::size_t threads,
               std::atomic<std::size_t>* added, Dense* dense) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::string failure;
  const auto add_one = [&](std::size_t row, std::size_t thread) {
    auto result = dense->add(row, rows + row * dimensions, thread, false);
    if (!result) {
      const char* message = result.error.release();
      if (!failed.exchange(true)) failure = message;
      return false;
    }
    added->fetch_add(1, std::memory_order_relaxed);
    return true;
  };
  const auto work = [&](std::size_t thread) {
    while (!failed.load(std::memory_order_relaxed)) {
      const std::size_t row = next.fetch_add(1, std::memory_order_relaxed);
      if (row >= size || !add_one(row, thread)) return;
    }
  };
  // usearch makes the first node the entry point without a lock, so that node is added before other
  // threads join.
  if (size > 0) {
    next = 1;
    add_one(0, 0);
  }
  std::vector<std::thread> helpers;
  helpers.reserve(threads);
  for (std::size_t thread = 1; thread < threads; ++thread) {
    try {
      helpers.emplace_back(work, thread);
    } catch (const std::exception&) {
      break;  // Fewer threads build the same kind of index, only more slowly.
    }
  }
  work(0);
  for (std::thread& helper : helpers) helper.join();
  return failed ? Status::Internal("usearch: " + failure) : Status::Ok();
}

}  // namespace

struct HnswIndex::Graph {
  Dense index;
  /// usearch keeps the expansion in the index. Searches share this lock; a search that needs
  /// another expansion holds it exclusively.
  std::shared_mutex expansion;
  /// One flag for each of usearch's per-thread contexts.
  std::array<std::atomic<bool>, kSearchThreads> in_use{};
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
                        std::atomic<std::size_t>* added, std::unique_ptr<HnswIndex>* index) {
  Status status = CheckBuild(size, options);
  if (!status.ok()) return status;
  try {
    us::index_dense_config_t config(options.connectivity, options.expansion_add, 0);
    // Keys are found through the graph alone, so no hash table from keys to nodes is needed.
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
    status = AddRows(made->vectors_.data(), size, dimensions, options.threads, added,
                     &made->graph_->index);
    if (status.ok()) status = made->Connect();
    if (status.ok()) *index = std::move(made);
    return status;
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
    const Status status = CheckHnswFile(bytes, size_bytes, dimensions, FileKinds(), kernels, &rows);
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
      if (!result) {
        return HnswFileInvalid(std::string("usearch refused them: ") + result.error.release());
      }
      // Loading replaced the metric by usearch's own.
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
                         const SearchOutput& out) const {
  const Status status = CheckVectors(*kernels_, queries, count, dimensions_, "queries");
  if (!status.ok()) return status;
  if (expansion > kMaxExpansion) {
    return Status::OutOfRange("Expected at most 1048576 for expansionSearch, received " +
                              std::to_string(expansion) + ".");
  }
  Dense& dense = graph_->index;
  // More candidates than nodes would change no result and reserve memory for nothing.
  const std::size_t wanted = std::min(k, size_);
  const std::size_t candidates = std::max<std::size_t>(1, std::min(std::max(expansion, k), size_));
  std::shared_lock<std::shared_mutex> shared(graph_->expansion);
  std::unique_lock<std::shared_mutex> alone(graph_->expansion, std::defer_lock);
  if (dense.expansion_search() != candidates) {
    shared.unlock();
    alone.lock();
    dense.change_expansion_search(candidates);
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
          // The distance is the negated dot product of our own kernel, and negation is exact.
          top.Offer(-match.distance, static_cast<std::uint32_t>(key));
        }
      };
      const Context context(&graph_->in_use);
      if (allow.everything()) {
        take(dense.search(vector, wanted, context.index()));
      } else {
        const auto allowed = [&allow](std::uint64_t key) noexcept { return allow.Test(key); };
        take(dense.filtered_search(vector, wanted, allowed, context.index()));
      }
    }
    out.counts[query] =
        static_cast<std::int32_t>(top.Finish(out.rows + query * k, out.scores + query * k));
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
  // usearch's serialized_length() does not count the graph header, so the bytes are counted here.
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
