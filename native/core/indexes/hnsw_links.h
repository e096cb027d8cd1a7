// Reachability of the nodes of an HNSW graph, over the bytes of usearch's own file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/runtime/status.h"

namespace tandem {

/// Makes the base level of a graph strongly connected, so that a search finds every node wherever the levels above it let
/// it start, and counts the nodes in `repaired` that had no way in or no way out. `bytes` hold a graph that
/// HnswIndex::Load accepts; links are written in place, sizes stay.
///
/// Pruning of neighbours, and adding on several threads, leaves a few nodes in a hundred thousand without a way in; many
/// equal vectors form islands without a way out. They would never be an answer, or the only ones.
Status ConnectEveryNode(std::uint8_t* bytes, std::size_t* repaired);

}  // namespace tandem
