// Walks a file once, section by section, in the order of the layout in hnsw_file.h.

#include "core/indexes/hnsw_file.h"

#include <limits>
#include <string>
#include <vector>

#include "core/indexes/vector_checks.h"
#include "core/runtime/aligned_buffer.h"

namespace tandem {
namespace {

/// The oldest minor version whose files have this layout.
constexpr std::uint16_t kOldestMinor = 10;
/// Levels fall off geometrically with M >= 2: level 64 would take 2^64 nodes.
constexpr std::uint64_t kMaxLevel = 64;

/// Reads fields in order and refuses to pass the end.
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
  /// The next `size` bytes; null when fewer are left.
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

class FileCheck {
 public:
  FileCheck(const std::uint8_t* bytes, std::size_t size_bytes, std::size_t dimensions)
      : reader_(bytes, size_bytes), dimensions_(dimensions) {}

  std::size_t rows() const { return rows_; }

  Status Run(const HnswFileKinds& kinds, const KernelTable& kernels) {
    Status status = CheckVectorSection();
    if (status.ok()) status = CheckHead(kinds);
    if (status.ok()) status = CheckGraphHeader();
    if (!status.ok()) return status;
    if (rows_ == 0) {
      return reader_.left() == 0 ? status : HnswFileInvalid("bytes follow an empty graph");
    }
    status = CheckLevels();
    if (status.ok()) status = CheckNodes();
    if (status.ok()) status = CheckEachVector(kernels);
    return status;
  }

 private:
  Status CheckVectorSection() {
    std::uint32_t rows = 0;
    std::uint32_t row_bytes = 0;
    if (!reader_.Read(&rows) || !reader_.Read(&row_bytes)) {
      return HnswFileInvalid("they end in the header");
    }
    if (row_bytes != dimensions_ * sizeof(float)) {
      return HnswFileInvalid("their vectors take " + std::to_string(row_bytes) + " bytes, " +
                             std::to_string(dimensions_) + " dimensions take " +
                             std::to_string(dimensions_ * sizeof(float)));
    }
    if (rows > static_cast<std::uint32_t>(std::numeric_limits<std::int32_t>::max())) {
      return HnswFileInvalid("they claim " + std::to_string(rows) + " vectors");
    }
    rows_ = rows;
    vectors_ = reader_.Take(rows_ * row_bytes);
    return vectors_ == nullptr ? HnswFileInvalid("they end within the vectors") : Status::Ok();
  }

  Status CheckHead(const HnswFileKinds& kinds) {
    const std::uint8_t* head = reader_.Take(kHnswHeadBytes);
    if (head == nullptr) return HnswFileInvalid("they end in the head");
    if (std::memcmp(head, "usearch", 7) != 0) return HnswFileInvalid("the magic word is missing");
    const std::uint16_t major = LoadAt<std::uint16_t>(head + 7);
    const std::uint16_t minor = LoadAt<std::uint16_t>(head + 9);
    if (major != kinds.version_major || minor < kOldestMinor) {
      return HnswFileInvalid("usearch " + std::to_string(major) + "." + std::to_string(minor) +
                             " wrote them, this is " + kinds.version);
    }
    if (head[13] != kinds.metric || head[14] != kinds.vectors || head[15] != kinds.keys ||
        head[16] != kinds.nodes) {
      return HnswFileInvalid("metric, vectors, keys or node numbers are of another kind");
    }
    const std::uint64_t present = LoadAt<std::uint64_t>(head + 17);
    const std::uint64_t deleted = LoadAt<std::uint64_t>(head + 25);
    const std::uint64_t dimensions = LoadAt<std::uint64_t>(head + 33);
    const bool multi = head[41] != 0;
    if (present != rows_ || deleted != 0 || dimensions != dimensions_ || multi) {
      return HnswFileInvalid("the counts in the head disagree with the vectors");
    }
    return Status::Ok();
  }

  Status CheckGraphHeader() {
    std::uint64_t graph[5] = {};
    if (!reader_.Read(&graph)) return HnswFileInvalid("they end in the graph header");
    connectivity_ = graph[1];
    connectivity_base_ = graph[2];
    max_level_ = graph[3];
    entry_node_ = graph[4];
    if (graph[0] != rows_) return HnswFileInvalid("graph and vectors differ in size");
    if (connectivity_ < 2 || connectivity_ > kMaxConnectivity ||
        connectivity_base_ < connectivity_ || connectivity_base_ > 2 * kMaxConnectivity) {
      return HnswFileInvalid("the connectivity is out of range");
    }
    if (rows_ > 0 && (max_level_ > kMaxLevel || entry_node_ >= rows_)) {
      return HnswFileInvalid("the entry point is out of range");
    }
    return Status::Ok();
  }

  Status CheckLevels() {
    levels_ = reader_.Take(rows_ * sizeof(std::int16_t));
    if (levels_ == nullptr) return HnswFileInvalid("they end within the levels");
    for (std::size_t node = 0; node < rows_; ++node) {
      const std::int16_t level = LevelOf(node);
      if (level < 0 || static_cast<std::uint64_t>(level) > max_level_) {
        return HnswFileInvalid("the level of node " + std::to_string(node) + " is out of range");
      }
    }
    if (static_cast<std::uint64_t>(LevelOf(entry_node_)) != max_level_) {
      return HnswFileInvalid("the entry point is not on the top level");
    }
    return Status::Ok();
  }

  Status CheckNodes() {
    std::vector<bool> key_seen(rows_, false);
    for (std::size_t node = 0; node < rows_; ++node) {
      const std::string name = "node " + std::to_string(node);
      const std::uint8_t* start = reader_.Take(kHnswNodeHeadBytes);
      if (start == nullptr) return HnswFileInvalid("they end within " + name);
      const std::uint64_t key = LoadAt<std::uint64_t>(start);
      const std::int16_t level = LoadAt<std::int16_t>(start + sizeof(std::uint64_t));
      if (key >= rows_ || key_seen[key]) {
        return HnswFileInvalid("the key of " + name + " is out of range");
      }
      key_seen[key] = true;
      if (level != LevelOf(node)) {
        return HnswFileInvalid("the level of " + name + " is given twice with different values");
      }
      for (std::int16_t l = 0; l <= level; ++l) {
        const Status status = CheckNeighbours(name, l);
        if (!status.ok()) return status;
      }
    }
    return reader_.left() == 0 ? Status::Ok() : HnswFileInvalid("bytes follow the last node");
  }

  Status CheckNeighbours(const std::string& name, std::int16_t level) {
    const std::uint64_t room = level == 0 ? connectivity_base_ : connectivity_;
    std::uint32_t neighbours = 0;
    if (!reader_.Read(&neighbours)) return HnswFileInvalid("they end within " + name);
    if (neighbours > room) {
      return HnswFileInvalid(name + " has more neighbours than it has room for");
    }
    const std::uint8_t* list = reader_.Take(room * sizeof(std::uint32_t));
    if (list == nullptr) return HnswFileInvalid("they end within " + name);
    for (std::size_t i = 0; i < neighbours; ++i) {
      const std::uint32_t to = LoadAt<std::uint32_t>(list + i * sizeof(std::uint32_t));
      // A neighbour whose level is lower has no list on this level: following it would read past
      // its node.
      if (to >= rows_ || LevelOf(to) < level) {
        return HnswFileInvalid("a neighbour of " + name + " is out of range");
      }
    }
    return Status::Ok();
  }

  /// The caller's buffer may be of any alignment, so each vector is copied before the kernels read
  /// it.
  Status CheckEachVector(const KernelTable& kernels) {
    const std::size_t row_bytes = dimensions_ * sizeof(float);
    AlignedBuffer copy;
    if (!copy.Reserve(dimensions_)) return Status::Internal("Out of memory for a vector.");
    for (std::size_t node = 0; node < rows_; ++node) {
      std::memcpy(copy.data(), vectors_ + node * row_bytes, row_bytes);
      if (!CheckVectors(kernels, copy.data(), 1, dimensions_, "vector").ok()) {
        return HnswFileInvalid("the vector of node " + std::to_string(node) +
                               " is NaN, Inf or zero");
      }
    }
    return Status::Ok();
  }

  std::int16_t LevelOf(std::size_t node) const {
    return LoadAt<std::int16_t>(levels_ + node * sizeof(std::int16_t));
  }

  Reader reader_;
  std::size_t dimensions_;
  std::size_t rows_ = 0;
  const std::uint8_t* vectors_ = nullptr;
  const std::uint8_t* levels_ = nullptr;
  std::uint64_t connectivity_ = 0;
  std::uint64_t connectivity_base_ = 0;
  std::uint64_t max_level_ = 0;
  std::uint64_t entry_node_ = 0;
};

}  // namespace

Status HnswFileInvalid(const std::string& what) {
  return Status::IndexInvalid("Expected the bytes of an HNSW index written by this version, but " +
                              what + ". Publish the bundle again (tandem publish --index hnsw).");
}

Status CheckHnswFile(const std::uint8_t* bytes, std::size_t size_bytes, std::size_t dimensions,
                     const HnswFileKinds& kinds, const KernelTable& kernels,
                     std::size_t* rows_out) {
  FileCheck check(bytes, size_bytes, dimensions);
  Status status = check.Run(kinds, kernels);
  if (status.ok()) *rows_out = check.rows();
  return status;
}

}  // namespace tandem
