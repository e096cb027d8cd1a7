// The file of a ClusterIndex. It is written whole, and a file that is not whole is refused.

#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <string>

#include "core/indexes/cluster_index.h"
#include "core/indexes/cluster_layout.h"
#include "core/indexes/codes.h"

namespace tandem {
namespace {

/// Little-endian sections without padding: header, centroids f32, clusters, rows u32, codes u8,
/// checksum u64.
struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t dimensions;
  std::uint32_t size;
  std::uint32_t clusters;
  std::uint32_t blocks;
  std::uint32_t calibrated_k;
  float radius_factors[4];
  float recall;
};
static_assert(sizeof(Header) == 52, "the header has no padding");

struct StoredCluster {
  std::uint32_t block_count;
  float step;
  float radius;
};
static_assert(sizeof(StoredCluster) == 12, "a stored cluster has no padding");

constexpr char kMagic[8] = {'T', 'N', 'D', 'M', 'C', 'L', 'U', 'S'};
constexpr std::uint32_t kVersion = 2;

/// Four lanes of multiply and rotate over 8-byte words. Each step is a bijection of its lane, so a
/// change of a single word never goes unnoticed. The checksum guards against damage; the bundle's
/// digest guards against malice.
std::uint64_t Checksum(const std::uint8_t* bytes, std::size_t size) {
  constexpr std::uint64_t kPrime = 0x9E3779B185EBCA87ull;
  std::uint64_t lanes[4] = {1, 2, 3, 4};
  const auto mix = [](std::uint64_t lane, std::uint64_t word) {
    const std::uint64_t x = (lane ^ word) * kPrime;
    return x << 31 | x >> 33;
  };
  std::size_t at = 0;
  for (; at + 32 <= size; at += 32) {
    std::uint64_t words[4];
    std::memcpy(words, bytes + at, sizeof(words));
    for (int l = 0; l < 4; ++l) lanes[l] = mix(lanes[l], words[l]);
  }
  std::uint64_t sum = size;
  for (; at < size; ++at) sum = mix(sum, bytes[at]);
  for (const std::uint64_t lane : lanes) sum = mix(sum, lane);
  return sum;
}

Status Invalid(const std::string& what) {
  return Status::IndexInvalid(
      "Expected the bytes of a cluster index written by this version, but " + what +
      ". Publish the bundle again (tandem publish).");
}

bool FiniteAtLeast(float x, float least) { return std::isfinite(x) && x >= least; }

/// Checks everything that can be checked before memory is allocated: counts, length, checksum, and
/// the numbers of the header.
Status CheckHeader(const Header& header, const std::uint8_t* bytes, std::size_t size_bytes,
                   std::size_t size, std::size_t dimensions) {
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return Invalid("the magic word is missing");
  }
  if (header.version != kVersion) {
    return Invalid("their version is " + std::to_string(header.version));
  }
  if (header.dimensions != dimensions || header.size != size) {
    return Invalid("they index " + std::to_string(header.size) + " x " +
                   std::to_string(header.dimensions) + " vectors instead of " +
                   std::to_string(size) + " x " + std::to_string(dimensions));
  }
  // These bounds come before the products below, which therefore cannot overflow 64 bits.
  const std::size_t padded_rows = std::size_t{header.blocks} * kCodeBlock;
  if (size == 0 || dimensions == 0 || dimensions > kMaxCodeDepth || header.clusters == 0 ||
      header.clusters > size || padded_rows < size || header.blocks > size_bytes) {
    return Invalid("their counts do not fit each other");
  }
  const std::size_t expected =
      sizeof(header) +
      std::size_t{header.clusters} * (dimensions * sizeof(float) + sizeof(StoredCluster)) +
      padded_rows * (sizeof(std::uint32_t) + CodeDepth(dimensions)) + sizeof(std::uint64_t);
  if (size_bytes != expected) {
    return Invalid("there are " + std::to_string(size_bytes) + " bytes instead of " +
                   std::to_string(expected));
  }
  std::uint64_t sum;
  std::memcpy(&sum, bytes + size_bytes - sizeof(sum), sizeof(sum));
  if (sum != Checksum(bytes, size_bytes - sizeof(sum))) return Invalid("their checksum is wrong");
  bool sound = FiniteAtLeast(header.recall, 0.0f) && header.calibrated_k > 0;
  for (const float radius_factor : header.radius_factors) {
    sound = sound && FiniteAtLeast(radius_factor, 0.0f);
  }
  if (!sound) return Invalid("a radius factor, the recall or the calibrated k is out of range");
  return Status::Ok();
}

/// Checks that each row below `size` is there exactly once.
Status CheckRows(const std::vector<std::uint32_t>& rows, std::size_t size) {
  std::vector<bool> seen(size, false);
  std::size_t filled = 0;
  for (const std::uint32_t row : rows) {
    if (row == kNoRow) continue;
    if (row >= size || seen[row]) return Invalid("a row is out of range or occurs twice");
    seen[row] = true;
    ++filled;
  }
  return filled == size ? Status::Ok() : Invalid("a row is missing");
}

}  // namespace

std::size_t ClusterIndex::SerializedSize() const {
  return sizeof(Header) + clusters_.size() * (dimensions_ * sizeof(float) + sizeof(StoredCluster)) +
         rows_.size() * (sizeof(std::uint32_t) + depth_) + sizeof(std::uint64_t);
}

Status ClusterIndex::Serialize(std::uint8_t* out, std::size_t size_bytes) const {
  if (size_bytes != SerializedSize()) {
    return Status::OutOfRange("Expected room for " + std::to_string(SerializedSize()) +
                              " bytes, received " + std::to_string(size_bytes) + ".");
  }
  std::size_t at = 0;
  const auto write = [&](const void* from, std::size_t length) {
    std::memcpy(out + at, from, length);
    at += length;
  };
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.dimensions = static_cast<std::uint32_t>(dimensions_);
  header.size = static_cast<std::uint32_t>(size_);
  header.clusters = static_cast<std::uint32_t>(clusters_.size());
  header.blocks = static_cast<std::uint32_t>(rows_.size() / kCodeBlock);
  static_assert(sizeof(header.radius_factors) == sizeof(radius_factors_),
                "one for each of kDepths");
  std::memcpy(header.radius_factors, radius_factors_, sizeof(radius_factors_));
  header.calibrated_k = static_cast<std::uint32_t>(calibrated_k_);
  header.recall = recall_;
  write(&header, sizeof(header));
  write(centroids_.data(), clusters_.size() * dimensions_ * sizeof(float));
  for (std::size_t c = 0; c < clusters_.size(); ++c) {
    const StoredCluster stored = {clusters_[c].block_count, clusters_[c].step, radius_[c]};
    write(&stored, sizeof(stored));
  }
  write(rows_.data(), rows_.size() * sizeof(std::uint32_t));
  write(codes_.data(), rows_.size() * depth_);
  const std::uint64_t sum = Checksum(out, at);
  write(&sum, sizeof(sum));
  return Status::Ok();
}

Status ClusterIndex::Load(const std::uint8_t* bytes, std::size_t size_bytes, const float* vectors,
                          std::size_t size, std::size_t dimensions, const KernelTable& kernels,
                          std::unique_ptr<ClusterIndex>* index) {
  Header header;
  if (size_bytes < sizeof(header) + sizeof(std::uint64_t)) return Invalid("they end in the header");
  std::memcpy(&header, bytes, sizeof(header));
  const Status status = CheckHeader(header, bytes, size_bytes, size, dimensions);
  if (!status.ok()) return status;
  const std::size_t padded_rows = std::size_t{header.blocks} * kCodeBlock;
  try {
    std::unique_ptr<ClusterIndex> made(new ClusterIndex());
    made->kernels_ = &kernels;
    made->vectors_ = vectors;
    made->size_ = size;
    made->dimensions_ = dimensions;
    made->depth_ = CodeDepth(dimensions);
    std::memcpy(made->radius_factors_, header.radius_factors, sizeof(header.radius_factors));
    made->calibrated_k_ = header.calibrated_k;
    made->recall_ = header.recall;
    if (!made->centroids_.Reserve(header.clusters * dimensions) ||
        !made->codes_.Reserve(padded_rows * made->depth_)) {
      return Status::Internal("Out of memory for a cluster index.");
    }
    made->clusters_.resize(header.clusters);
    made->rows_.resize(padded_rows);
    std::size_t at = sizeof(header);
    const auto read = [&](void* to, std::size_t length) {
      std::memcpy(to, bytes + at, length);
      at += length;
    };
    read(made->centroids_.data(), header.clusters * dimensions * sizeof(float));
    if (!kernels.all_finite(made->centroids_.data(), header.clusters * dimensions)) {
      return Invalid("a centroid is NaN or Inf");
    }
    std::size_t blocks = 0;
    for (Cluster& cluster : made->clusters_) {
      StoredCluster stored;
      read(&stored, sizeof(stored));
      if (stored.block_count == 0 || stored.block_count > header.blocks - blocks ||
          !FiniteAtLeast(stored.step, std::numeric_limits<float>::min()) ||
          !FiniteAtLeast(stored.radius, 0.0f)) {
        return Invalid("a cluster is out of range");
      }
      cluster = {static_cast<std::uint32_t>(blocks), stored.block_count, stored.step};
      made->radius_.push_back(stored.radius);
      blocks += stored.block_count;
    }
    if (blocks != header.blocks) return Invalid("the clusters have too few blocks");
    read(made->rows_.data(), padded_rows * sizeof(std::uint32_t));
    Status read_status = CheckRows(made->rows_, size);
    if (!read_status.ok()) return read_status;
    read(made->codes_.data(), padded_rows * made->depth_);
    PreferHugePages(vectors, size * dimensions * sizeof(float));
    read_status = made->FinishLoading();
    if (read_status.ok()) *index = std::move(made);
    return read_status;
  } catch (const std::exception&) {
    return Status::Internal("Out of memory for a cluster index.");
  }
}

}  // namespace tandem
