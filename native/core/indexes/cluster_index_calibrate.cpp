// Calibrating a ClusterIndex: how far a search has to look to meet a recall target.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <numeric>
#include <string>
#include <vector>

#include "core/indexes/cluster_index.h"
#include "core/indexes/cluster_layout.h"
#include "core/indexes/exact_index.h"

namespace tandem {
namespace {

/// Scrambles the bits of x; a bijection.
std::uint32_t Scrambled(std::uint32_t x) {
  x *= 2654435761u;
  x = (x ^ (x >> 15)) * 2246822519u;
  return x ^ (x >> 13);
}

}  // namespace

/// The queries of a target in two halves, and the arrays for measuring them. Queries may alternate
/// in kind, so a hash decides which half a query belongs to.
struct ClusterIndex::Calibration {
  /// Sizes: the first half determines the radius factors, the second one is held out.
  std::size_t halves[2];
  /// [count, dimensions]: the first half, then the second.
  std::vector<float> queries;
  /// [count, depth]: the rows of the true top `depth`, in ascending order for each query.
  std::vector<std::int32_t> truth;
  std::vector<std::int32_t> found;
  std::vector<std::int32_t> counts;
  std::vector<float> scores;

  Calibration(const ClusterTarget& target, std::size_t dimensions)
      : halves{(target.count + 1) / 2, target.count / 2},
        queries(target.count * dimensions),
        counts(target.count) {
    std::vector<std::uint32_t> order(target.count);
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(),
              [](std::uint32_t a, std::uint32_t b) { return Scrambled(a) < Scrambled(b); });
    for (std::size_t i = 0; i < target.count; ++i) {
      const std::size_t index = i % 2 * halves[0] + i / 2;
      std::memcpy(queries.data() + index * dimensions, target.queries + order[i] * dimensions,
                  dimensions * sizeof(float));
    }
  }

  /// Finds the true top `depth` of every query.
  Status FindTruth(const ExactIndex& exact, std::size_t depth) {
    const std::size_t count = counts.size();
    truth.resize(count * depth);
    found.resize(count * depth);
    scores.resize(count * depth);
    const Status status =
        exact.Search(queries.data(), count, depth, BitsetView(nullptr, exact.size()),
                     {truth.data(), scores.data(), counts.data()});
    if (!status.ok()) return status;
    for (std::size_t q = 0; q < count; ++q) {
      std::sort(&truth[q * depth], &truth[q * depth] + depth);
    }
    return status;
  }
};

/// Mean share of the true top `depth` that was found, its standard error, and cost().
struct ClusterIndex::MeasuredRecall {
  double mean;
  double error;
  double cost;
};

/// Searches one half of the queries with a radius factor and compares the results with the truth.
Status ClusterIndex::Measure(Calibration* c, std::size_t half, std::size_t depth,
                             float radius_factor, MeasuredRecall* recall) const {
  const std::size_t first = half == 0 ? 0 : c->halves[0];
  const std::size_t size = c->halves[half];
  std::atomic<std::size_t> work{0};
  const Status searched = SearchCounted(
      c->queries.data() + first * dimensions_, size, depth, BitsetView(nullptr, size_),
      radius_factor, {c->found.data(), c->scores.data(), c->counts.data()}, &work);
  double sum = 0.0;
  double squares = 0.0;
  for (std::size_t q = 0; q < size; ++q) {
    const std::int32_t* const expected = &c->truth[(first + q) * depth];
    std::size_t hits = 0;
    for (std::size_t i = 0; i < depth; ++i) {
      if (std::binary_search(expected, expected + depth, c->found[q * depth + i])) ++hits;
    }
    const double share = static_cast<double>(hits) / static_cast<double>(depth);
    sum += share;
    squares += share * share;
  }
  const double n = static_cast<double>(size);
  recall->mean = sum / n;
  recall->error = std::sqrt(std::max(0.0, squares / n - recall->mean * recall->mean) / n);
  recall->cost = static_cast<double>(work) / n;
  return searched;
}

Status ClusterIndex::Calibrate(const ClusterTarget& target) {
  const std::size_t count = target.count;
  const std::size_t k = target.k;
  if (count < 2 || k < 1 || k > size_) {
    return Status::OutOfRange("Expected at least 2 queries and k from 1 to " +
                              std::to_string(size_) + " to calibrate with, received " +
                              std::to_string(count) + " and " + std::to_string(k) + ".");
  }
  if (!(target.recall > 0.0) || !(target.recall <= 1.0)) {
    return Status::OutOfRange("Expected a recall target in (0, 1], received " +
                              std::to_string(target.recall) + ".");
  }
  try {
    Calibration calibration(target, dimensions_);
    ExactIndex exact(*kernels_);
    Status status = exact.Reset(vectors_, size_, dimensions_);
    if (status.ok()) status = exact.AddCodes();
    calibrated_k_ = k;
    for (std::size_t level = 0; status.ok() && level < kLevels; ++level) {
      const std::size_t depth = DepthOf(level);
      status = calibration.FindTruth(exact, depth);
      if (!status.ok()) break;
      float low = 0.0f;
      float high = kGreatestRadiusFactor;
      MeasuredRecall recall = {};
      for (int step = 0; status.ok() && step < kCalibrationSteps; ++step) {
        const float radius_factor = 0.5f * (low + high);
        status = Measure(&calibration, 0, depth, radius_factor, &recall);
        // The target must also hold for queries that were not measured, hence the two standard
        // errors. A mean of 1 leaves no room for them and needs none.
        const bool met = recall.mean - 2.0 * recall.error >= target.recall || recall.mean >= 1.0;
        (met ? high : low) = radius_factor;
      }
      radius_factors_[level] = high;
      if (!status.ok() || depth != k) continue;
      status = Measure(&calibration, 1, depth, high, &recall);
      recall_ = static_cast<float>(recall.mean);
      cost_ = recall.cost;
    }
    return status;
  } catch (const std::exception&) {
    return Status::Internal("Out of memory for a cluster index.");
  }
}

}  // namespace tandem
