// Constants that building, calibrating, searching and storing a ClusterIndex share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem {

/// Marks the padding of a cluster's last block.
constexpr std::uint32_t kNoRow = 0xffffffffu;
/// The largest radius factor that calibration tries. It assumes a vector this many radii away from
/// its centroid, straight towards the query; no cluster extends further in practice.
constexpr float kGreatestRadiusFactor = 4.0f;
constexpr int kCalibrationSteps = 10;

}  // namespace tandem
