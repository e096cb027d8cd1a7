// Makes every node of an HNSW graph reachable, in the bytes of usearch's own file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/runtime/status.h"

namespace tandem {

/// Makes the base level of a graph strongly connected, so that a search finds every node wherever
/// the upper levels let it start. `repaired` counts the nodes that had no way in or no way out.
/// `bytes` hold a graph that HnswIndex::Load accepts. Links are written in place; sizes stay the
/// same.
///
/// Pruning of neighbours, and adding nodes on several threads, leave a few nodes in a hundred
/// thousand without a way in. Many equal vectors form islands without a way out. The former would
/// never be an answer; the latter would be the only ones.
Status ConnectEveryNode(std::uint8_t* bytes, std::size_t* repaired);

}  // namespace tandem
