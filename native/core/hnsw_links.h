// Reachability of the nodes of an HNSW graph, over the bytes of usearch's own file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/status.h"

namespace tandem {

/// Gives every node that no walk from the entry point can find a link from a node near it that can be found, and counts
/// them in `repaired`. `bytes` hold a graph that HnswIndex::Load accepts; links are written in place, sizes stay.
///
/// Pruning of neighbours, and adding on several threads, leaves a few nodes in a hundred thousand without a way in: they
/// would never be an answer.
Status ConnectEveryNode(std::uint8_t* bytes, std::size_t* repaired);

}  // namespace tandem
