// Walks the links of the base level from the entry point, forwards and backwards. The layout is in
// hnsw_file.h.

#include "core/indexes/hnsw_links.h"

#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "core/indexes/hnsw_file.h"

namespace tandem {
namespace {

constexpr std::size_t kLinkBytes = sizeof(std::uint32_t);
/// Incoming links that an unreachable node receives. One link may not be enough: a search that
/// passes only one of its neighbours would still miss it.
constexpr std::size_t kIncomingLinks = 4;
/// How many nodes are visited for further links, once there is one.
constexpr std::size_t kNearby = 64;
/// A node with this many incoming links can lose one.
constexpr std::uint32_t kEnoughIncoming = 4;
constexpr int kRounds = 8;

/// The links of the base level of a valid graph.
class Links {
 public:
  explicit Links(std::uint8_t* bytes) {
    const std::size_t rows = LoadAt<std::uint32_t>(bytes);
    const std::size_t row_bytes = LoadAt<std::uint32_t>(bytes + 4);
    std::uint8_t* const header = bytes + 8 + rows * row_bytes + kHnswHeadBytes;
    const std::size_t upper_room = LoadAt<std::uint64_t>(header + 8);
    room_ = LoadAt<std::uint64_t>(header + 16);
    entry_ = LoadAt<std::uint64_t>(header + 32);
    const std::uint8_t* const levels = header + 40;
    std::uint8_t* at = header + 40 + rows * sizeof(std::int16_t);
    lists_.resize(rows);
    incoming_.resize(rows, 0);
    for (std::size_t node = 0; node < rows; ++node) {
      const std::int16_t level = LoadAt<std::int16_t>(levels + node * sizeof(std::int16_t));
      lists_[node] = at + kHnswNodeHeadBytes;
      at = lists_[node] + kLinkBytes * (1 + room_) +
           static_cast<std::size_t>(level) * kLinkBytes * (1 + upper_room);
    }
    for (std::size_t node = 0; node < rows; ++node) {
      for (std::size_t i = 0; i < count(node); ++i) ++incoming_[to(node, i)];
    }
  }

  std::size_t size() const { return lists_.size(); }
  std::size_t entry() const { return entry_; }
  std::size_t count(std::size_t node) const { return LoadAt<std::uint32_t>(lists_[node]); }
  std::size_t to(std::size_t node, std::size_t i) const {
    return LoadAt<std::uint32_t>(lists_[node] + kLinkBytes * (1 + i));
  }
  std::uint32_t incoming(std::size_t node) const { return incoming_[node]; }

  /// Adds a link, or replaces a link to a node that has enough others. False when there is neither
  /// room nor such a link.
  bool Link(std::size_t from, std::size_t target, bool may_replace) {
    const std::size_t size = count(from);
    if (size < room_) {
      const std::uint32_t grown = static_cast<std::uint32_t>(size + 1);
      std::memcpy(lists_[from], &grown, kLinkBytes);
      Write(from, size, target);
      return true;
    }
    for (std::size_t i = may_replace ? size : 0; i-- > 0;) {
      const std::size_t replaced = to(from, i);
      if (incoming_[replaced] < kEnoughIncoming) continue;
      --incoming_[replaced];
      Write(from, i, target);
      return true;
    }
    return false;
  }

 private:
  void Write(std::size_t from, std::size_t at, std::size_t target) {
    const std::uint32_t node = static_cast<std::uint32_t>(target);
    std::memcpy(lists_[from] + kLinkBytes * (1 + at), &node, kLinkBytes);
    ++incoming_[target];
  }

  std::size_t room_ = 0;
  std::size_t entry_ = 0;
  std::vector<std::uint8_t*> lists_;
  std::vector<std::uint32_t> incoming_;
};

/// The nodes met on a walk. `next(node, visit)` calls visit for each node that is one step further.
class Walk {
 public:
  explicit Walk(std::size_t size) : met_(size, false) {}
  bool met(std::size_t node) const { return met_[node]; }

  template <class Next>
  void From(std::size_t start, const Next& next) {
    if (!Meet(start)) return;
    while (!open_.empty()) {
      const std::size_t node = open_.back();
      open_.pop_back();
      next(node, [this](std::size_t other) { Meet(other); });
    }
  }

 private:
  bool Meet(std::size_t node) {
    if (met_[node]) return false;
    met_[node] = true;
    open_.push_back(node);
    return true;
  }

  std::vector<bool> met_;
  std::vector<std::size_t> open_;
};

/// Calls visit(node, number of nodes visited before) for `start` and the nodes around it, in order
/// of their distance in links, until visit returns false.
template <class Visit>
void Outwards(const Links& links, std::size_t start, const Visit& visit) {
  std::vector<std::size_t> ring = {start};
  std::vector<bool> seen(links.size(), false);
  seen[start] = true;
  for (std::size_t next = 0; next < ring.size(); ++next) {
    if (!visit(ring[next], next)) return;
    for (std::size_t i = 0; i < links.count(ring[next]); ++i) {
      const std::size_t to = links.to(ring[next], i);
      if (seen[to]) continue;
      seen[to] = true;
      ring.push_back(to);
    }
  }
}

/// Links that lead to each node, as they were when this object was made.
class Backlinks {
 public:
  explicit Backlinks(const Links& links) : offsets_(links.size() + 1, 0) {
    for (std::size_t node = 0; node < links.size(); ++node) {
      offsets_[node + 1] = offsets_[node] + links.incoming(node);
    }
    from_.resize(offsets_.back());
    std::vector<std::size_t> next(offsets_.begin(), offsets_.end() - 1);
    for (std::size_t node = 0; node < links.size(); ++node) {
      for (std::size_t i = 0; i < links.count(node); ++i) {
        from_[next[links.to(node, i)]++] = static_cast<std::uint32_t>(node);
      }
    }
  }
  template <class Visit>
  void Each(std::size_t node, const Visit& visit) const {
    for (std::size_t i = offsets_[node]; i < offsets_[node + 1]; ++i) visit(from_[i]);
  }

 private:
  std::vector<std::size_t> offsets_;
  std::vector<std::uint32_t> from_;
};

Status NoRoom(std::size_t node) {
  return Status::Internal("No node of the graph has room for a link to or from node " +
                          std::to_string(node) + ". Raise connectivity.");
}

/// Makes every node reachable from the entry point: an unreachable node receives up to
/// kIncomingLinks links from the nearest reachable nodes that have room.
Status ConnectFromEntry(Links* links, std::size_t* repaired) {
  Walk in(links->size());
  const auto forward = [links](std::size_t node, const auto& visit) {
    for (std::size_t i = 0; i < links->count(node); ++i) visit(links->to(node, i));
  };
  in.From(links->entry(), forward);
  for (std::size_t node = 0; node < links->size(); ++node) {
    if (in.met(node)) continue;
    std::size_t made = 0;
    const auto link = [&](std::size_t from, std::size_t visited) {
      if (in.met(from) && links->Link(from, node, made == 0)) ++made;
      return made < kIncomingLinks && (made == 0 || visited < kNearby);
    };
    Outwards(*links, node, link);
    // The node is on an island that links to nothing else, so the links come from the surroundings
    // of the entry point.
    if (made == 0) Outwards(*links, links->entry(), link);
    if (made == 0) return NoRoom(node);
    in.From(node, forward);
    ++*repaired;
  }
  return Status::Ok();
}

/// Makes the entry point reachable from every node: a link to it is added to the nearest node that
/// has room.
Status ConnectToEntry(Links* links, std::size_t* repaired) {
  const Backlinks backlinks(*links);
  const auto backward = [&](std::size_t node, const auto& visit) { backlinks.Each(node, visit); };
  Walk out(links->size());
  out.From(links->entry(), backward);
  for (std::size_t node = 0; node < links->size(); ++node) {
    if (out.met(node)) continue;
    std::size_t exit_node = links->size();
    Outwards(*links, node, [&](std::size_t from, std::size_t /*visited*/) {
      if (links->Link(from, links->entry(), true)) exit_node = from;
      return exit_node == links->size();
    });
    if (exit_node == links->size()) return NoRoom(node);
    out.From(exit_node, backward);
    ++*repaired;
  }
  return Status::Ok();
}

}  // namespace

Status ConnectEveryNode(std::uint8_t* bytes, std::size_t* repaired) {
  *repaired = 0;
  if (LoadAt<std::uint32_t>(bytes) == 0) return Status::Ok();
  try {
    Links links(bytes);
    // A link that was replaced may have been the only way to some node after all, so this repeats
    // until no node is missing.
    for (int round = 0; round < kRounds; ++round) {
      std::size_t now = 0;
      Status status = ConnectFromEntry(&links, &now);
      if (status.ok()) status = ConnectToEntry(&links, &now);
      if (!status.ok() || now == 0) return status;
      *repaired += now;
    }
    return Status::Internal("Some nodes of the graph cannot be reached. Raise connectivity.");
  } catch (const std::exception&) {
    return Status::Internal("Out of memory for the links of an index.");
  }
}

}  // namespace tandem
