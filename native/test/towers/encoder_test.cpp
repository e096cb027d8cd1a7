// Compares the history encoder of every instruction set with the formula of
// docs/explanation/model.md in f64, in full width and length. Also tests that a state depends only
// on the events of its user, and that wrong inputs are refused.

#include "core/towers/encoder.h"

#include <algorithm>
#include <limits>

#include "test/check.h"

namespace tandem::test {
namespace {

struct Shape {
  std::size_t d, heads, f, t, a, blocks;
  bool features;
  bool mean = false;
};

constexpr std::size_t kItems = 23;
constexpr std::size_t kActions = 4;
constexpr std::size_t kGaps = 6;
constexpr std::size_t kCategories = 5;
constexpr std::size_t kAdvertisers = 3;
constexpr std::size_t kPrices = 7;

using Floats = std::vector<float>;

struct Block {
  Floats norm1, offset1, wq, bq, wk, bk, wv, bv, wo, bo, norm2, offset2, w1, b1, w2, b2;
};

FloatView View(const Floats& v) { return {v.data(), v.size()}; }
Int32View View(const std::vector<std::int32_t>& v) { return {v.data(), v.size()}; }

struct Model {
  Model(const Shape& s, std::uint64_t seed) : shape(s) {
    Random random(seed);
    const std::size_t d = s.d;
    items = random.Floats(kItems * d);
    categories = random.Floats(kCategories * d);
    advertisers = random.Floats(kAdvertisers * d);
    prices = random.Floats(kPrices * d);
    category_offsets.push_back(0);
    for (std::size_t i = 0; i < kItems; ++i) {
      for (std::size_t n = random.Below(4); n > 0; --n) {
        category_rows.push_back(static_cast<std::int32_t>(random.Below(kCategories)));
        category_weights.push_back(std::fabs(random.Unit()));
      }
      category_offsets.push_back(static_cast<std::int32_t>(category_rows.size()));
      advertiser_rows.push_back(static_cast<std::int32_t>(random.Below(kAdvertisers)));
      price_rows.push_back(static_cast<std::int32_t>(random.Below(kPrices)));
    }
    actions = random.Floats(kActions * s.a);
    gaps = random.Floats(kGaps * d);
    positions = random.Floats(s.t * d);
    win = random.Floats(d * (d + s.a));
    bin = random.Floats(d);
    // Keeps the scores of attention in a range where a softmax is neither flat nor a single one.
    const float gain = 2.0f / std::sqrt(static_cast<float>(d));
    const auto matrix = [&](std::size_t n, std::size_t k) {
      Floats w = random.Floats(n * k);
      for (float& x : w) x *= gain;
      return w;
    };
    for (std::size_t i = 0; i < s.blocks; ++i) {
      blocks.push_back({random.Floats(d), random.Floats(d), matrix(d, d), random.Floats(d),
                        matrix(d, d), random.Floats(d), matrix(d, d), random.Floats(d),
                        matrix(d, d), random.Floats(d), random.Floats(d), random.Floats(d),
                        matrix(s.f, d), random.Floats(s.f), matrix(d, s.f), random.Floats(d)});
    }
    norm = random.Floats(d);
    offset = random.Floats(d);
    if (s.mean) mean = matrix(d, d);
  }

  EncoderWeightViews Views() const {
    EncoderWeightViews w;
    w.embedding_width = shape.d;
    w.heads = shape.heads;
    w.feed_forward_width = shape.f;
    w.max_history = shape.t;
    w.action_width = shape.a;
    w.items.item_table = View(items);
    w.items.has_categories = w.items.has_advertisers = w.items.has_prices = shape.features;
    w.items.category_table = View(categories);
    w.items.category_offsets = View(category_offsets);
    w.items.category_rows = View(category_rows);
    w.items.category_weights = View(category_weights);
    w.items.advertiser_table = View(advertisers);
    w.items.advertiser_rows = View(advertiser_rows);
    w.items.price_table = View(prices);
    w.items.price_rows = View(price_rows);
    w.action_table = View(actions);
    w.gap_table = View(gaps);
    w.position_table = View(positions);
    w.input_weight = View(win);
    w.input_bias = View(bin);
    for (const Block& b : blocks) {
      w.blocks.push_back({View(b.norm1), View(b.offset1), View(b.wq), View(b.bq), View(b.wk),
                          View(b.bk), View(b.wv), View(b.bv), View(b.wo), View(b.bo), View(b.norm2),
                          View(b.offset2), View(b.w1), View(b.b1), View(b.w2), View(b.b2)});
    }
    w.norm_scale = View(norm);
    w.norm_offset = View(offset);
    w.has_mean = shape.mean;
    w.mean_weight = View(mean);
    return w;
  }

  Shape shape;
  Floats items, categories, advertisers, prices, category_weights, actions, gaps, positions, win,
      bin, norm, offset, mean;
  std::vector<std::int32_t> category_offsets, category_rows, advertiser_rows, price_rows;
  std::vector<Block> blocks;
};

struct Histories {
  Histories(const std::vector<std::size_t>& lengths, std::uint64_t seed) {
    Random random(seed);
    offsets.push_back(0);
    for (const std::size_t length : lengths) {
      for (std::size_t i = 0; i < length; ++i) {
        items.push_back(static_cast<std::int32_t>(random.Below(kItems)));
        actions.push_back(static_cast<std::int32_t>(random.Below(kActions)));
        gaps.push_back(static_cast<std::int32_t>(random.Below(kGaps)));
      }
      offsets.push_back(static_cast<std::int32_t>(items.size()));
    }
  }
  std::size_t count() const { return offsets.size() - 1; }
  HistoryViews Views() const {
    return {count(), View(offsets), View(items), View(actions), View(gaps)};
  }
  /// The history of user `user` alone.
  Histories Only(std::size_t user) const {
    Histories one({}, 1);
    const auto cut = [&](const std::vector<std::int32_t>& v) {
      return std::vector<std::int32_t>(v.begin() + offsets[user], v.begin() + offsets[user + 1]);
    };
    one.items = cut(items);
    one.actions = cut(actions);
    one.gaps = cut(gaps);
    one.offsets.push_back(static_cast<std::int32_t>(one.items.size()));
    return one;
  }
  std::vector<std::int32_t> offsets, items, actions, gaps;
};

using Row = std::vector<double>;

double At(const Floats& v, std::size_t i) { return static_cast<double>(v[i]); }

Row Dense(const Floats& w, const Floats& b, const Row& x) {
  Row y;
  for (std::size_t i = 0; i < b.size(); ++i) {
    double sum = At(b, i);
    for (std::size_t j = 0; j < x.size(); ++j) sum += At(w, i * x.size() + j) * x[j];
    y.push_back(sum);
  }
  return y;
}

Row LayerNorm(const Floats& scale, const Floats& offset, const Row& x) {
  double mean = 0;
  for (const double value : x) mean += value / static_cast<double>(x.size());
  double variance = 0;
  for (const double value : x) {
    variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
  }
  Row y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    y.push_back((x[i] - mean) / std::sqrt(variance + 1e-5) * At(scale, i) + At(offset, i));
  }
  return y;
}

/// The states of all events of one user: every layer at every position.
std::vector<Row> AllRows(const Model& m, const Histories& h, std::size_t user) {
  const Shape& s = m.shape;
  const std::size_t begin = static_cast<std::size_t>(h.offsets[user]);
  const std::size_t length = static_cast<std::size_t>(h.offsets[user + 1]) - begin;
  std::vector<Row> x, inputs;
  for (std::size_t t = 0; t < length; ++t) {
    const std::size_t item = static_cast<std::size_t>(h.items[begin + t]);
    const auto row = [&](const Floats& table, std::int32_t index, std::size_t j) {
      return At(table, static_cast<std::size_t>(index) * s.d + j);
    };
    Row event;
    for (std::size_t j = 0; j < s.d; ++j) {
      double sum = At(m.items, item * s.d + j);
      if (s.features) {
        for (std::int32_t c = m.category_offsets[item]; c < m.category_offsets[item + 1]; ++c) {
          const std::size_t term = static_cast<std::size_t>(c);
          sum += At(m.category_weights, term) * row(m.categories, m.category_rows[term], j);
        }
        sum += row(m.advertisers, m.advertiser_rows[item], j);
        sum += row(m.prices, m.price_rows[item], j);
      }
      event.push_back(sum);
    }
    inputs.push_back(event);
    for (std::size_t j = 0; j < s.a; ++j) {
      event.push_back(At(m.actions, static_cast<std::size_t>(h.actions[begin + t]) * s.a + j));
    }
    Row projected = Dense(m.win, m.bin, event);
    for (std::size_t j = 0; j < s.d; ++j) {
      projected[j] +=
          row(m.gaps, h.gaps[begin + t], j) + At(m.positions, (s.t - length + t) * s.d + j);
    }
    x.push_back(projected);
  }
  const std::size_t width = s.d / s.heads;
  for (const Block& b : m.blocks) {
    std::vector<Row> q, k, v;
    for (const Row& row : x) {
      const Row normed = LayerNorm(b.norm1, b.offset1, row);
      q.push_back(Dense(b.wq, b.bq, normed));
      k.push_back(Dense(b.wk, b.bk, normed));
      v.push_back(Dense(b.wv, b.bv, normed));
    }
    for (std::size_t t = 0; t < length; ++t) {
      Row mixed(s.d, 0.0);
      for (std::size_t head = 0; head < s.heads; ++head) {
        Row weights;
        double total = 0;
        for (std::size_t u = 0; u <= t; ++u) {
          double score = 0;
          for (std::size_t j = head * width; j < (head + 1) * width; ++j)
            score += q[t][j] * k[u][j];
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(width))));
          total += weights.back();
        }
        for (std::size_t u = 0; u <= t; ++u) {
          for (std::size_t j = head * width; j < (head + 1) * width; ++j) {
            mixed[j] += weights[u] / total * v[u][j];
          }
        }
      }
      const Row update = Dense(b.wo, b.bo, mixed);
      for (std::size_t j = 0; j < s.d; ++j) x[t][j] += update[j];
    }
    for (Row& row : x) {
      Row hidden = Dense(b.w1, b.b1, LayerNorm(b.norm2, b.offset2, row));
      for (double& value : hidden) value = std::max(value, 0.0);
      const Row update = Dense(b.w2, b.b2, hidden);
      for (std::size_t j = 0; j < s.d; ++j) row[j] += update[j];
    }
  }
  for (std::size_t t = 0; t < length; ++t) {
    x[t] = LayerNorm(m.norm, m.offset, x[t]);
    if (!s.mean) continue;
    Row mean(s.d, 0.0);
    for (std::size_t u = 0; u <= t; ++u) {
      for (std::size_t j = 0; j < s.d; ++j) mean[j] += inputs[u][j] / static_cast<double>(t + 1);
    }
    const Row added = Dense(m.mean, Floats(s.d, 0.0f), mean);
    for (std::size_t j = 0; j < s.d; ++j) x[t][j] += added[j];
  }
  return x;
}

/// The state of one user: the row of the newest event.
Row Reference(const Model& m, const Histories& h, std::size_t user) {
  const std::vector<Row> rows = AllRows(m, h, user);
  return rows.empty() ? Row(m.shape.d, 0.0) : rows.back();
}

std::unique_ptr<Encoder> Make(const Model& model, Precision precision, const KernelTable& kernels,
                              StateRows rows = StateRows::kNewest) {
  std::unique_ptr<Encoder> encoder;
  CHECK_OK(
      Encoder::Create(model.Views(), precision, rows, kernels, ThreadPool::Shared(), &encoder));
  return encoder;
}

Floats Encode(Encoder& encoder, const Histories& histories, ThreadPool& pool) {
  // One element more than needed: nothing may be written behind the last state.
  const std::size_t rows = encoder.state_rows() == StateRows::kAll
                               ? static_cast<std::size_t>(histories.offsets.back())
                               : histories.count();
  Floats out(rows * encoder.embedding_width() + 1, 7.0f);
  CHECK_OK(encoder.Encode(histories.Views(), pool, out.data(), out.size() - 1));
  CHECK(out.back() == 7.0f);
  out.pop_back();
  return out;
}

const Shape kShapes[] = {
    {64, 2, 256, 32, 8, 2, true}, {12, 4, 20, 9, 3, 1, true, true},
    {33, 3, 31, 30, 1, 3, true},  {20, 1, 7, 50, 5, 2, false, true},
    {48, 4, 96, 100, 4, 2, true}, {2, 1, 1, 3, 1, 2, false},
};

/// Lengths from 0 to T in mixed order, including both ends.
std::vector<std::size_t> Lengths(const Shape& shape, std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::size_t> lengths = {0, shape.t, 1};
  while (lengths.size() < count) lengths.push_back(random.Below(shape.t + 1));
  lengths.push_back(0);
  return lengths;
}

void TestAgainstReference(const KernelTable& kernels) {
  ThreadPool pool(2);
  std::uint64_t seed = 100;
  for (const Shape& shape : kShapes) {
    const Model model(shape, ++seed);
    const Histories histories(Lengths(shape, 12, seed), seed);
    const Floats f32 = Encode(*Make(model, Precision::kF32, kernels), histories, pool);
    const Floats bf16 = Encode(*Make(model, Precision::kBf16, kernels), histories, pool);
    for (std::size_t user = 0; user < histories.count(); ++user) {
      const Row expected = Reference(model, histories, user);
      double largest = 0;
      double squares = 0, product = 0, bf16_squares = 0;
      for (const double value : expected) largest = std::max(largest, std::fabs(value));
      for (std::size_t j = 0; j < shape.d; ++j) {
        CHECK_NEAR(f32[user * shape.d + j], expected[j], 2e-5 * largest);
        const double rounded = At(bf16, user * shape.d + j);
        squares += expected[j] * expected[j];
        bf16_squares += rounded * rounded;
        product += expected[j] * rounded;
      }
      if (squares == 0) {
        CHECK(bf16_squares == 0);
      } else if (shape.d >= 12) {
        // 8 bits of mantissa: about 0.4 % noise in the operands of every product; few rows are
        // worse by chance.
        CHECK(product / std::sqrt(squares * bf16_squares) > 0.999);
      }
    }
  }
}

/// The states of all events against the formula, and, to the last bit, against those of the user
/// alone.
void TestAllRows(const KernelTable& kernels) {
  ThreadPool one(1), three(3);
  std::uint64_t seed = 200;
  for (const Shape& shape : kShapes) {
    const Model model(shape, ++seed);
    const Histories histories(Lengths(shape, 30, seed), seed);
    const std::unique_ptr<Encoder> encoder = Make(model, Precision::kF32, kernels, StateRows::kAll);
    const Floats states = Encode(*encoder, histories, three);
    CHECK(Encode(*encoder, histories, one) == states);
    for (std::size_t user = 0; user < histories.count(); ++user) {
      const std::size_t begin = static_cast<std::size_t>(histories.offsets[user]) * shape.d;
      const Floats alone = Encode(*encoder, histories.Only(user), one);
      for (std::size_t i = 0; i < alone.size(); ++i) CHECK(alone[i] == states[begin + i]);
      std::size_t i = begin;
      for (const Row& row : AllRows(model, histories, user)) {
        double largest = 0;
        for (const double value : row) largest = std::max(largest, std::fabs(value));
        // There are many times the rows of the test above, and norms of two values make a few of
        // them ill-conditioned.
        for (const double value : row) CHECK_NEAR(states[i++], value, 1e-4 * largest);
      }
    }
    Floats out(states.size());
    const Status status = encoder->Encode(histories.Views(), one, out.data(), out.size() - 1);
    CHECK(status.message().find("[offsets[B], D] for out") != std::string::npos);
  }
}

/// States are the same to the last bit: alone, with any other users, and on any number of threads.
void TestIndependence(const KernelTable& kernels) {
  const Shape& shape = kShapes[2];
  const Model model(shape, 7);
  // Enough users for several ranges.
  const Histories histories(Lengths(shape, 60, 8), 9);
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    const std::unique_ptr<Encoder> encoder = Make(model, precision, kernels);
    ThreadPool one(1), three(3);
    const Floats expected = Encode(*encoder, histories, one);
    CHECK(Encode(*encoder, histories, three) == expected);
    for (std::size_t user = 0; user < histories.count(); ++user) {
      const Floats alone = Encode(*encoder, histories.Only(user), three);
      for (std::size_t j = 0; j < shape.d; ++j) CHECK(alone[j] == expected[user * shape.d + j]);
    }
  }
}

/// One history is longer than the events of a range of users.
void TestLongHistory(const KernelTable& kernels) {
  const Shape shape = {8, 2, 9, 300, 2, 2, true};
  const Model model(shape, 11);
  const Histories histories({300, 2, 299}, 12);
  ThreadPool pool(2);
  const Floats states = Encode(*Make(model, Precision::kF32, kernels), histories, pool);
  for (std::size_t user = 0; user < 3; ++user) {
    const Row expected = Reference(model, histories, user);
    for (std::size_t j = 0; j < shape.d; ++j) {
      CHECK_NEAR(states[user * shape.d + j], expected[j], 2e-5);
    }
  }
}

void TestRefusedWeights(const KernelTable& kernels) {
  const Shape shape = {12, 4, 20, 9, 3, 2, true};
  const Model model(shape, 20);
  const auto refused = [&](const EncoderWeightViews& views, StatusCode code, const char* name) {
    std::unique_ptr<Encoder> encoder;
    const Status status = Encoder::Create(views, Precision::kF32, StateRows::kNewest, kernels,
                                          ThreadPool::Shared(), &encoder);
    if (status.code() != code || status.message().find(name) == std::string::npos) {
      Fail(__FILE__, __LINE__, std::string("expected ") + name + ", received: " + status.message());
    }
  };
  EncoderWeightViews wrong = model.Views();
  wrong.blocks[1].value_weight.size -= 1;
  refused(wrong, StatusCode::kOutOfRange, "blocks[1].valueWeight");
  wrong = model.Views();
  wrong.heads = 5;
  refused(wrong, StatusCode::kOutOfRange, "heads");
  wrong = model.Views();
  wrong.blocks.clear();
  refused(wrong, StatusCode::kOutOfRange, "blocks");
  wrong = model.Views();
  wrong.items.item_table.size -= 1;
  refused(wrong, StatusCode::kOutOfRange, "itemTable");
  wrong = model.Views();
  wrong.items.item_table.size -= shape.d;
  refused(wrong, StatusCode::kOutOfRange, "categories.offsets");
  wrong = model.Views();
  wrong.position_table.size -= shape.d;
  refused(wrong, StatusCode::kOutOfRange, "positionTable");

  Model rows = model;
  rows.price_rows[3] = kPrices;
  refused(rows.Views(), StatusCode::kOutOfRange, "prices.rows, received 7 at 3");
  rows = model;
  rows.category_rows[2] = -1;
  refused(rows.Views(), StatusCode::kOutOfRange, "categories.rows, received -1 at 2");
  rows = model;
  rows.category_offsets[4] = 1000;
  refused(rows.Views(), StatusCode::kOutOfRange, "categories.offsets");
  rows.shape.features = false;
  CHECK(Make(rows, Precision::kF32, kernels) != nullptr);

  Model bad = model;
  bad.blocks[0].b1[19] = std::numeric_limits<float>::infinity();
  refused(bad.Views(), StatusCode::kNonFinite, "blocks[0].feedForwardBias");
  bad = model;
  bad.items[30] = std::nanf("");
  refused(bad.Views(), StatusCode::kNonFinite, "itemTable");
  bad = model;
  bad.category_weights[0] = std::nanf("");
  refused(bad.Views(), StatusCode::kNonFinite, "categories.weights");
}

void TestRefusedBatches(const KernelTable& kernels) {
  const Shape shape = {12, 4, 20, 9, 3, 2, true};
  const Model model(shape, 30);
  const std::unique_ptr<Encoder> encoder = Make(model, Precision::kF32, kernels);
  ThreadPool pool(2);
  const Histories good({4, 9, 3}, 31);
  Floats out(3 * shape.d);
  const auto refused = [&](const Histories& batch, std::size_t size, const char* name) {
    const Status status = encoder->Encode(batch.Views(), pool, out.data(), size);
    if (status.code() != StatusCode::kOutOfRange ||
        status.message().find(name) == std::string::npos) {
      Fail(__FILE__, __LINE__, std::string("expected ") + name + ", received: " + status.message());
    }
  };
  refused(good, out.size() - 1, "[B, D] for out");
  Histories wrong = good;
  wrong.offsets = {0, 5, 4, 16};
  refused(wrong, out.size(), "offsets, received 4 at 2");
  wrong.offsets = {1, 4, 13, 16};
  refused(wrong, out.size(), "offsets, received 1 at 0");
  wrong.offsets = {0, 3, 13, 16};
  refused(wrong, out.size(), "received 10 for user 1");
  wrong.offsets = {0, 4, 13, 15};
  refused(wrong, out.size(), "items");
  wrong = good;
  wrong.items[5] = kItems;
  refused(wrong, out.size(), "in items, received 23 at 5");
  wrong.items[5] = -1;
  refused(wrong, out.size(), "in items, received -1 at 5");
  wrong = good;
  wrong.actions[15] = kActions;
  refused(wrong, out.size(), "in actions, received 4 at 15");
  wrong = good;
  wrong.gaps[0] = kGaps;
  refused(wrong, out.size(), "in gaps, received 6 at 0");
  wrong = good;
  wrong.gaps.pop_back();
  refused(wrong, out.size(), "gaps");

  // Finite weights whose products overflow, for the users that have item 7.
  Model large = model;
  for (std::size_t j = 0; j < shape.d; ++j) large.items[7 * shape.d + j] = 3e38f;
  for (float& w : large.win) w = 1e5f;
  const std::unique_ptr<Encoder> overflowing = Make(large, Precision::kF32, kernels);
  Histories some({2, 0, 2, 3, 40 % 9}, 32);
  for (std::int32_t& item : some.items) item = item == 7 ? 8 : item;
  out.resize(some.count() * shape.d);
  CHECK_OK(overflowing->Encode(some.Views(), pool, out.data(), out.size()));
  some.items[3] = some.items[5] = 7;
  const Status status = overflowing->Encode(some.Views(), pool, out.data(), out.size());
  CHECK(status.code() == StatusCode::kNonFinite);
  CHECK(status.message().find("user 2") != std::string::npos);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestAgainstReference(kernels);
    TestAllRows(kernels);
    TestIndependence(kernels);
    TestLongHistory(kernels);
    TestRefusedWeights(kernels);
    TestRefusedBatches(kernels);
  });
  return Finish("encoder");
}
