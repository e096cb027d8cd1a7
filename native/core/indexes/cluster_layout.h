// Constants that building, calibrating, searching and storing a ClusterIndex share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem {

/// Marks the padding of a cluster's last block.
constexpr std::uint32_t kNoRow = 0xffffffffu;
/// A vector this many radii off its centroid, straight towards the query. No cluster extends
/// further in practice.
constexpr float kGreatestRadiusFactor = 4.0f;
constexpr int kCalibrationSteps = 10;

}  // namespace tandem
