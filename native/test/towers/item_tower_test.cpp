// Compares the item tower of every instruction set with the formula of docs/explanation/model.md in
// f64. Also tests that a vector depends on its item alone, and that wrong inputs are refused.

#include "core/towers/item_tower.h"

#include <algorithm>
#include <limits>

#include "test/check.h"

namespace tandem::test {
namespace {

struct Shape {
  std::size_t d, h;
  bool features;
};

constexpr std::size_t kCategories = 5;
constexpr std::size_t kAdvertisers = 3;
constexpr std::size_t kPrices = 7;

using Floats = std::vector<float>;

FloatView View(const Floats& v) { return {v.data(), v.size()}; }
Int32View View(const std::vector<std::int32_t>& v) { return {v.data(), v.size()}; }

struct Model {
  Model(const Shape& s, std::uint64_t seed) : shape(s) {
    Random random(seed);
    w1 = random.Floats(s.h * s.d);
    b1 = random.Floats(s.h);
    w2 = random.Floats(s.d * s.h);
    b2 = random.Floats(s.d);
    categories = random.Floats(kCategories * s.d);
    advertisers = random.Floats(kAdvertisers * s.d);
    prices = random.Floats(kPrices * s.d);
  }

  ItemTowerWeightViews Views() const {
    ItemTowerWeightViews w;
    w.embedding_width = shape.d;
    w.hidden_width = shape.h;
    w.hidden_weight = View(w1);
    w.hidden_bias = View(b1);
    w.output_weight = View(w2);
    w.output_bias = View(b2);
    w.tables.has_categories = w.tables.has_advertisers = w.tables.has_prices = shape.features;
    w.tables.category_table = View(categories);
    w.tables.advertiser_table = View(advertisers);
    w.tables.price_table = View(prices);
    return w;
  }

  Shape shape;
  Floats w1, b1, w2, b2, categories, advertisers, prices;
};

struct Items {
  Items(const Shape& shape, std::size_t n, std::uint64_t seed) : count(n) {
    Random random(seed);
    ids = random.Floats(n * shape.d);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t term = random.Below(4); term > 0; --term) {
        category_rows.push_back(static_cast<std::int32_t>(random.Below(kCategories)));
        category_weights.push_back(std::fabs(random.Unit()));
      }
      category_offsets.push_back(static_cast<std::int32_t>(category_rows.size()));
      advertiser_rows.push_back(static_cast<std::int32_t>(random.Below(kAdvertisers)));
      price_rows.push_back(static_cast<std::int32_t>(random.Below(kPrices)));
    }
  }

  ItemRowViews Views() const {
    return {View(category_offsets), View(category_rows), View(category_weights),
            View(advertiser_rows), View(price_rows)};
  }

  /// Item i alone; d = D.
  Items Only(std::size_t i, std::size_t d) const {
    const auto part = [](auto values, std::size_t begin, std::size_t end) {
      return decltype(values)(values.begin() + static_cast<std::ptrdiff_t>(begin),
                              values.begin() + static_cast<std::ptrdiff_t>(end));
    };
    const std::size_t begin = static_cast<std::size_t>(category_offsets[i]);
    const std::size_t end = static_cast<std::size_t>(category_offsets[i + 1]);
    Items one = *this;
    one.count = 1;
    one.ids = part(ids, i * d, (i + 1) * d);
    one.category_offsets = {0, category_offsets[i + 1] - category_offsets[i]};
    one.category_rows = part(category_rows, begin, end);
    one.category_weights = part(category_weights, begin, end);
    one.advertiser_rows = {advertiser_rows[i]};
    one.price_rows = {price_rows[i]};
    return one;
  }

  std::size_t count;
  Floats ids, category_weights;
  std::vector<std::int32_t> category_offsets = {0};
  std::vector<std::int32_t> category_rows, advertiser_rows, price_rows;
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

Row Reference(const Model& m, const Items& items, std::size_t item) {
  const std::size_t d = m.shape.d;
  const auto row = [&](const Floats& table, std::int32_t index, std::size_t j) {
    return At(table, static_cast<std::size_t>(index) * d + j);
  };
  Row x;
  for (std::size_t j = 0; j < d; ++j) {
    double sum = At(items.ids, item * d + j);
    if (m.shape.features) {
      for (std::int32_t c = items.category_offsets[item]; c < items.category_offsets[item + 1];
           ++c) {
        const std::size_t term = static_cast<std::size_t>(c);
        sum += At(items.category_weights, term) * row(m.categories, items.category_rows[term], j);
      }
      sum += row(m.advertisers, items.advertiser_rows[item], j);
      sum += row(m.prices, items.price_rows[item], j);
    }
    x.push_back(sum);
  }
  Row hidden = Dense(m.w1, m.b1, x);
  for (double& value : hidden) value = std::max(value, 0.0);
  Row v = Dense(m.w2, m.b2, hidden);
  double squares = 0;
  for (std::size_t j = 0; j < d; ++j) {
    v[j] += x[j];
    squares += v[j] * v[j];
  }
  for (double& value : v) value /= std::sqrt(squares);
  return v;
}

std::unique_ptr<ItemTower> Make(const Model& model, const KernelTable& kernels) {
  std::unique_ptr<ItemTower> tower;
  CHECK_OK(ItemTower::Create(model.Views(), kernels, &tower));
  return tower;
}

Floats Embed(const ItemTower& tower, const Items& items, ThreadPool& pool) {
  // One element more than needed: nothing may be written behind the last vector.
  Floats out(items.count * tower.embedding_width() + 1, 7.0f);
  CHECK_OK(
      tower.Embed(items.count, View(items.ids), items.Views(), pool, out.data(), out.size() - 1));
  CHECK(out.back() == 7.0f);
  out.pop_back();
  return out;
}

const Shape kShapes[] = {{64, 256, true}, {64, 64, false}, {33, 17, true},
                         {7, 65, true},   {1, 1, true},    {20, 3, false}};

void TestAgainstReference(const KernelTable& kernels) {
  ThreadPool pool(2);
  std::uint64_t seed = 10;
  for (const Shape& shape : kShapes) {
    // The weights that it was made of are freed before it is used.
    const Model model(shape, ++seed);
    std::unique_ptr<ItemTower> tower;
    {
      const Model copy = model;
      tower = Make(copy, kernels);
    }
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{0}, std::size_t{95}, std::size_t{230}}) {
      const Items items(shape, count, ++seed);
      const Floats vectors = Embed(*tower, items, pool);
      for (std::size_t i = 0; i < count; ++i) {
        const Row expected = Reference(model, items, i);
        // Unit norm, after two sums of up to 257 terms in f32.
        for (std::size_t j = 0; j < shape.d; ++j) {
          CHECK_NEAR(vectors[i * shape.d + j], expected[j], 2e-6);
        }
      }
    }
  }
}

/// Vectors are the same to the last bit: alone, with any other items, and on any number of threads.
void TestIndependence(const KernelTable& kernels) {
  for (const Shape& shape : {Shape{33, 17, true}, Shape{64, 256, true}}) {
    const Model model(shape, 30);
    const std::unique_ptr<ItemTower> tower = Make(model, kernels);
    const Items items(shape, 400, 31);
    ThreadPool one(1), three(3);
    const Floats expected = Embed(*tower, items, one);
    CHECK(Embed(*tower, items, three) == expected);
    for (std::size_t i = 0; i < items.count; ++i) {
      const Floats alone = Embed(*tower, items.Only(i, shape.d), three);
      for (std::size_t j = 0; j < shape.d; ++j) CHECK(alone[j] == expected[i * shape.d + j]);
    }
  }
}

void TestRefusedWeights(const KernelTable& kernels) {
  const Shape shape = {12, 20, true};
  const Model model(shape, 40);
  const auto refused = [&](const ItemTowerWeightViews& views, StatusCode code, const char* name) {
    std::unique_ptr<ItemTower> tower;
    const Status status = ItemTower::Create(views, kernels, &tower);
    if (status.code() != code || status.message().find(name) == std::string::npos) {
      Fail(__FILE__, __LINE__, std::string("expected ") + name + ", received: " + status.message());
    }
    CHECK(tower == nullptr);
  };
  ItemTowerWeightViews wrong = model.Views();
  wrong.embedding_width = 0;
  refused(wrong, StatusCode::kOutOfRange, "embeddingWidth");
  wrong = model.Views();
  wrong.hidden_width = 1 << 17;
  refused(wrong, StatusCode::kOutOfRange, "hiddenWidth");
  wrong = model.Views();
  wrong.hidden_weight.size -= 1;
  refused(wrong, StatusCode::kOutOfRange, "[H, D] for hiddenWeight");
  wrong = model.Views();
  wrong.hidden_bias.size += 1;
  refused(wrong, StatusCode::kOutOfRange, "[H] for hiddenBias");
  wrong = model.Views();
  wrong.output_weight.size = 0;
  refused(wrong, StatusCode::kOutOfRange, "[D, H] for outputWeight");
  wrong = model.Views();
  wrong.output_bias.size = 11;
  refused(wrong, StatusCode::kOutOfRange, "[D] for outputBias");
  wrong = model.Views();
  wrong.tables.category_table.size -= 1;
  refused(wrong, StatusCode::kOutOfRange, "categoryTable");
  wrong = model.Views();
  wrong.tables.price_table.size = 0;
  refused(wrong, StatusCode::kOutOfRange, "priceTable");
  wrong.tables.has_prices = false;
  std::unique_ptr<ItemTower> tower;
  CHECK_OK(ItemTower::Create(wrong, kernels, &tower));

  Model bad = model;
  bad.w2[77] = std::numeric_limits<float>::infinity();
  refused(bad.Views(), StatusCode::kNonFinite, "outputWeight");
  bad = model;
  bad.b1[19] = std::nanf("");
  refused(bad.Views(), StatusCode::kNonFinite, "hiddenBias");
  bad = model;
  bad.advertisers[2] = std::nanf("");
  refused(bad.Views(), StatusCode::kNonFinite, "advertiserTable");
}

void TestRefusedBatches(const KernelTable& kernels) {
  const Shape shape = {12, 20, true};
  const Model model(shape, 50);
  const std::unique_ptr<ItemTower> tower = Make(model, kernels);
  ThreadPool pool(2);
  Items good(shape, 3, 51);
  good.category_offsets = {0, 2, 2, 4};
  good.category_rows = {0, 4, 1, 2};
  good.category_weights = {0.5f, 0.5f, 1.0f, 0.0f};
  Floats out(3 * shape.d);
  const auto embed = [&](const Items& items) {
    return tower->Embed(items.count, View(items.ids), items.Views(), pool, out.data(), out.size());
  };
  const auto refused = [&](const Items& items, StatusCode code, const char* name) {
    const Status status = embed(items);
    if (status.code() != code || status.message().find(name) == std::string::npos) {
      Fail(__FILE__, __LINE__, std::string("expected ") + name + ", received: " + status.message());
    }
  };
  CHECK_OK(embed(good));
  Items wrong = good;
  wrong.ids.pop_back();
  refused(wrong, StatusCode::kOutOfRange, "[N, D] for idRows");
  out.pop_back();
  refused(good, StatusCode::kOutOfRange, "[N, D] for out");
  out.push_back(0.0f);
  wrong = good;
  wrong.category_offsets = {0, 2, 1, 4};
  refused(wrong, StatusCode::kOutOfRange, "categoryOffsets, received 1 at 2");
  wrong.category_offsets = {0, 2, 4};
  refused(wrong, StatusCode::kOutOfRange, "[N + 1] for categoryOffsets");
  wrong = good;
  wrong.category_offsets[3] = 5;
  refused(wrong, StatusCode::kOutOfRange, "[categoryOffsets[N]] for categoryRows");
  wrong.category_rows.push_back(1);
  refused(wrong, StatusCode::kOutOfRange, "[categoryOffsets[N]] for categoryWeights");
  wrong = good;
  wrong.category_rows[1] = kCategories;
  refused(wrong, StatusCode::kOutOfRange, "categoryRows, received 5 at 1");
  wrong = good;
  wrong.advertiser_rows[2] = -1;
  refused(wrong, StatusCode::kOutOfRange, "advertiserRows, received -1 at 2");
  wrong = good;
  wrong.price_rows[0] = kPrices;
  refused(wrong, StatusCode::kOutOfRange, "priceRows, received 7 at 0");
  wrong.price_rows.clear();
  refused(wrong, StatusCode::kOutOfRange, "[N] for priceRows");

  // The relu of the hidden layer must not hide NaN.
  wrong = good;
  wrong.ids[shape.d + 3] = std::nanf("");
  wrong.ids[2 * shape.d] = std::numeric_limits<float>::infinity();
  refused(wrong, StatusCode::kNonFinite, "NaN or Inf for item 1.");
  wrong = good;
  wrong.category_weights[3] = std::nanf("");
  refused(wrong, StatusCode::kNonFinite, "NaN or Inf for item 2.");

  // The first item is named, whichever thread is faster.
  Items many(shape, 400, 52);
  out.resize(400 * shape.d);
  for (const std::size_t item : {std::size_t{390}, std::size_t{120}, std::size_t{250}}) {
    many.ids[item * shape.d] = std::nanf("");
  }
  refused(many, StatusCode::kNonFinite, "NaN or Inf for item 120.");

  // A zero vector has no direction.
  Model zero({4, 3, false}, 53);
  for (Floats* values : {&zero.b1, &zero.b2}) std::fill(values->begin(), values->end(), 0.0f);
  const std::unique_ptr<ItemTower> flat = Make(zero, kernels);
  Items none(zero.shape, 2, 54);
  std::fill(none.ids.begin() + 4, none.ids.end(), 0.0f);
  const Status status = flat->Embed(2, View(none.ids), none.Views(), pool, out.data(), 8);
  CHECK(status.code() == StatusCode::kNonFinite);
  CHECK(status.message().find("zero norm for item 1.") != std::string::npos);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestAgainstReference(kernels);
    TestIndependence(kernels);
    TestRefusedWeights(kernels);
    TestRefusedBatches(kernels);
  });
  return Finish("item_tower");
}
