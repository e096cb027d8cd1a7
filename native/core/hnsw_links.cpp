// Walks the links level by level from the entry point; the layout is in hnsw_index.cpp beside CheckBytes.

#include "core/hnsw_links.h"

#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace tandem {
namespace {

constexpr std::size_t kSlotBytes = sizeof(std::uint32_t);
constexpr std::size_t kNodeHeadBytes = sizeof(std::uint64_t) + sizeof(std::int16_t);
constexpr std::int16_t kUnreached = -1;

template <class T>
T ReadAt(const std::uint8_t* address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

/// The links of a valid graph, by node and level.
class Links {
 public:
  explicit Links(std::uint8_t* bytes) {
    const std::size_t rows = ReadAt<std::uint32_t>(bytes);
    const std::size_t row_bytes = ReadAt<std::uint32_t>(bytes + 4);
    const std::uint8_t* header = bytes + 8 + rows * row_bytes + 64;
    room_ = ReadAt<std::uint64_t>(header + 8);
    base_room_ = ReadAt<std::uint64_t>(header + 16);
    entry_ = ReadAt<std::uint64_t>(header + 32);
    const std::uint8_t* levels = header + 40;
    levels_.resize(rows);
    nodes_.resize(rows);
    std::uint8_t* at = bytes + (levels + rows * sizeof(std::int16_t) - bytes);
    for (std::size_t node = 0; node < rows; ++node) {
      levels_[node] = ReadAt<std::int16_t>(levels + node * sizeof(std::int16_t));
      nodes_[node] = at + kNodeHeadBytes;
      at = nodes_[node] + ListBytes(base_room_) +
           static_cast<std::size_t>(levels_[node]) * ListBytes(room_);
    }
  }

  std::size_t size() const { return nodes_.size(); }
  std::size_t entry() const { return entry_; }
  std::int16_t level(std::size_t node) const { return levels_[node]; }

  std::size_t count(std::size_t node, std::int16_t level) const {
    return ReadAt<std::uint32_t>(List(node, level));
  }
  std::size_t to(std::size_t node, std::int16_t level, std::size_t i) const {
    return ReadAt<std::uint32_t>(List(node, level) + kSlotBytes * (1 + i));
  }
  bool HasRoom(std::size_t node) const { return count(node, 0) < base_room_; }
  /// Adds a link on the base level, or overwrites link `at`.
  void Link(std::size_t from, std::size_t target) { Write(from, count(from, 0), target, true); }
  void Relink(std::size_t from, std::size_t at, std::size_t target) {
    Write(from, at, target, false);
  }

 private:
  static std::size_t ListBytes(std::size_t room) { return kSlotBytes * (1 + room); }

  std::uint8_t* List(std::size_t node, std::int16_t level) const {
    if (level == 0) return nodes_[node];
    return nodes_[node] + ListBytes(base_room_) +
           static_cast<std::size_t>(level - 1) * ListBytes(room_);
  }

  void Write(std::size_t from, std::size_t at, std::size_t target, bool grow) {
    const std::uint32_t slot = static_cast<std::uint32_t>(target);
    std::memcpy(nodes_[from] + kSlotBytes * (1 + at), &slot, kSlotBytes);
    if (!grow) return;
    const std::uint32_t size = static_cast<std::uint32_t>(at + 1);
    std::memcpy(nodes_[from], &size, kSlotBytes);
  }

  std::size_t room_ = 0;
  std::size_t base_room_ = 0;
  std::size_t entry_ = 0;
  std::vector<std::int16_t> levels_;
  std::vector<std::uint8_t*> nodes_;
};

/// The highest level on which a walk comes by each node; below it, it may go down.
class Reach {
 public:
  explicit Reach(const Links& links)
      : links_(links), level_(links.size(), kUnreached), incoming_(links.size(), 0) {
    for (std::size_t node = 0; node < links.size(); ++node) {
      for (std::size_t i = 0; i < links.count(node, 0); ++i) ++incoming_[links.to(node, 0, i)];
    }
  }

  bool reached(std::size_t node) const { return level_[node] != kUnreached; }
  std::uint32_t& incoming(std::size_t node) { return incoming_[node]; }

  void From(std::size_t start, std::int16_t level) {
    Visit(start, level);
    while (!open_.empty()) {
      const Step step = open_.back();
      open_.pop_back();
      for (std::int16_t l = step.first; l <= step.last; ++l) {
        for (std::size_t i = 0; i < links_.count(step.node, l); ++i) {
          Visit(links_.to(step.node, l, i), l);
        }
      }
    }
  }

 private:
  /// Levels [first, last] of a node are to be walked.
  struct Step {
    std::size_t node;
    std::int16_t first;
    std::int16_t last;
  };

  void Visit(std::size_t node, std::int16_t level) {
    if (level_[node] >= level) return;
    open_.push_back({node, static_cast<std::int16_t>(level_[node] + 1), level});
    level_[node] = level;
  }

  const Links& links_;
  std::vector<std::int16_t> level_;
  /// Links to each node on the base level.
  std::vector<std::uint32_t> incoming_;
  std::vector<Step> open_;
};

/// Links `node` from the nearest place, in links outwards from it, that can be found and has room, or can spare a link
/// to a node with others. False when there is none in the whole graph.
bool LinkFromNearby(std::size_t node, Links* links, Reach* reach) {
  std::vector<std::size_t> ring = {node};
  std::vector<bool> seen(links->size(), false);
  seen[node] = true;
  for (std::size_t next = 0; next < ring.size(); ++next) {
    const std::size_t from = ring[next];
    if (from != node && reach->reached(from)) {
      if (links->HasRoom(from)) {
        links->Link(from, node);
        ++reach->incoming(node);
        return true;
      }
      for (std::size_t i = links->count(from, 0); i-- > 0;) {
        const std::size_t spared = links->to(from, 0, i);
        if (reach->incoming(spared) < 4) continue;
        --reach->incoming(spared);
        links->Relink(from, i, node);
        ++reach->incoming(node);
        return true;
      }
    }
    for (std::size_t i = 0; i < links->count(from, 0); ++i) {
      const std::size_t to = links->to(from, 0, i);
      if (seen[to]) continue;
      seen[to] = true;
      ring.push_back(to);
    }
    // An island: its nodes lead nowhere else, so the entry point's surroundings have to do.
    if (next + 1 == ring.size() && !seen[links->entry()]) {
      seen[links->entry()] = true;
      ring.push_back(links->entry());
    }
  }
  return false;
}

}  // namespace

Status ConnectEveryNode(std::uint8_t* bytes, std::size_t* repaired) {
  *repaired = 0;
  if (ReadAt<std::uint32_t>(bytes) == 0) return Status::Ok();
  try {
    Links links(bytes);
    // A link that was spared may have been somebody's only way in after all: walk again until nobody is missing.
    for (std::size_t missing = links.size(); missing > 0;) {
      Reach reach(links);
      reach.From(links.entry(), links.level(links.entry()));
      std::size_t now = 0;
      for (std::size_t node = 0; node < links.size(); ++node) {
        if (reach.reached(node)) continue;
        ++now;
        if (!LinkFromNearby(node, &links, &reach)) {
          return Status::Internal("No node of the graph has room for a link to node " +
                                  std::to_string(node) + ". Raise connectivity.");
        }
        reach.From(node, 0);
      }
      *repaired += now;
      if (now >= missing) {
        return Status::Internal("Nodes of the graph stay out of reach. Raise connectivity.");
      }
      missing = now;
    }
    return Status::Ok();
  } catch (const std::exception&) {
    return Status::Internal("Out of memory for the links of an index.");
  }
}

}  // namespace tandem
