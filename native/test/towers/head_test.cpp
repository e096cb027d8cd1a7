// The head of every instruction set against the formula of docs/explanation/model.md in f64, and
// what it refuses.

#include "core/towers/head.h"

#include <algorithm>

#include "test/check.h"

namespace tandem::test {
namespace {

struct Shape {
  HeadFusion fusion;
  std::size_t d, h, f, e, g;
  std::size_t heads = 1;
  std::size_t subjects = 11;
  /// Items of the catalogue; 0 when the context does not read the item in view.
  std::size_t items = 0;
};
constexpr std::size_t kRows[3] = {5, 7, 3};
constexpr std::size_t kCategories = 4;
constexpr std::size_t kAdvertisers = 3;
constexpr std::size_t kPrices = 2;

struct Model {
  Model(const Shape& s, std::uint64_t seed) : shape(s) {
    Random random(seed);
    const std::size_t z = s.d * (s.fusion == HeadFusion::kAttention ? 2 : 1) +
                          (s.fusion == HeadFusion::kNone ? 0 : s.f + 1);
    const std::size_t x = s.e + 3 * s.g + (s.items > 0 ? s.d : 0);
    cold = random.Floats(s.d);
    wh = random.Floats(s.h * z);
    bh = random.Floats(s.h);
    wo = random.Floats(s.d * s.h);
    bo = random.Floats(s.d);
    ws = random.Floats(s.d * z);
    subjects = random.Floats(s.subjects * s.e);
    none = random.Floats(s.e);
    for (int t = 0; t < 3; ++t) tables[t] = random.Floats(kRows[t] * s.g);
    wc = random.Floats(s.f * x);
    bc = random.Floats(s.f);
    query = random.Floats(s.d * s.f);
    for (auto* square : {&key, &value, &merge}) *square = random.Floats(s.d * s.d);
    ids = random.Floats(s.items * s.d);
    categories = random.Floats(kCategories * s.d);
    advertisers = random.Floats(kAdvertisers * s.d);
    prices = random.Floats(kPrices * s.d);
    category_offsets.push_back(0);
    for (std::size_t i = 0; i < s.items; ++i) {
      for (std::size_t t = random.Below(4); t > 0; --t) {
        category_rows.push_back(static_cast<std::int32_t>(random.Below(kCategories)));
        category_weights.push_back(std::fabs(random.Unit()));
      }
      category_offsets.push_back(static_cast<std::int32_t>(category_rows.size()));
      advertiser_rows.push_back(static_cast<std::int32_t>(random.Below(kAdvertisers)));
      price_rows.push_back(static_cast<std::int32_t>(random.Below(kPrices)));
    }
  }

  HeadWeightViews Views() const {
    const auto view = [](const std::vector<float>& v) { return FloatView{v.data(), v.size()}; };
    const auto rows = [](const std::vector<std::int32_t>& v) {
      return Int32View{v.data(), v.size()};
    };
    HeadWeightViews w;
    w.fusion = shape.fusion;
    w.heads = shape.heads;
    w.embedding_width = shape.d;
    w.hidden_width = shape.h;
    w.context_width = shape.f;
    w.subject_width = shape.e;
    w.demographic_width = shape.g;
    w.cold_start = view(cold);
    w.hidden_weight = view(wh);
    w.hidden_bias = view(bh);
    w.output_weight = view(wo);
    w.output_bias = view(bo);
    w.skip_weight = view(ws);
    w.subject_table = view(subjects);
    w.no_subject = view(none);
    w.age_table = view(tables[0]);
    w.country_table = view(tables[1]);
    w.gender_table = view(tables[2]);
    w.context_weight = view(wc);
    w.context_bias = view(bc);
    w.query_weight = view(query);
    w.key_weight = view(key);
    w.value_weight = view(value);
    w.attention_output_weight = view(merge);
    w.has_subject_items = shape.items > 0;
    ItemInputViews& items = w.subject_items;
    items.item_table = view(ids);
    // Catalogues of an even number of items have ids alone.
    items.has_categories = items.has_advertisers = items.has_prices = HasFeatures();
    items.category_table = view(categories);
    items.category_offsets = rows(category_offsets);
    items.category_rows = rows(category_rows);
    items.category_weights = view(category_weights);
    items.advertiser_table = view(advertisers);
    items.advertiser_rows = rows(advertiser_rows);
    items.price_table = view(prices);
    items.price_rows = rows(price_rows);
    return w;
  }

  bool HasFeatures() const { return shape.items % 2 == 1; }

  Shape shape;
  std::vector<float> cold, wh, bh, wo, bo, ws, subjects, none, wc, bc, query, key, value, merge;
  std::vector<float> tables[3];
  std::vector<float> ids, categories, advertisers, prices, category_weights;
  std::vector<std::int32_t> category_offsets, category_rows, advertiser_rows, price_rows;
};

struct Requests {
  Requests(const Shape& s, std::size_t n, std::uint64_t seed) : count(n) {
    Random random(seed);
    states = random.Floats(n * s.d);
    offsets.push_back(0);
    sequence_offsets.push_back(0);
    for (std::size_t i = 0; i < n; ++i) {
      has_state.push_back(random.Below(4) == 0 ? 0 : 1);
      age.push_back(std::fabs(random.Unit()));
      const std::size_t terms = random.Below(20) == 0 ? 150 : random.Below(4);
      for (std::size_t t = 0; t < terms; ++t) {
        rows.push_back(static_cast<std::int32_t>(random.Below(s.subjects)));
        weights.push_back(random.Below(3) == 0 ? 0.0f : std::fabs(random.Unit()));
      }
      offsets.push_back(static_cast<std::int32_t>(rows.size()));
      const std::size_t length = has_state.back() == 0 ? 0 : 1 + random.Below(40);
      const std::vector<float> events = random.Floats(length * s.d);
      sequence.insert(sequence.end(), events.begin(), events.end());
      sequence_offsets.push_back(static_cast<std::int32_t>(sequence.size() / s.d));
      for (int t = 0; t < 3; ++t) {
        demographics.push_back(static_cast<std::int32_t>(random.Below(kRows[t])));
      }
      items.push_back(static_cast<std::int32_t>(random.Below(s.items + 1)) - 1);
    }
  }

  /// Request i alone; d = D.
  Requests Only(std::size_t i, std::size_t d) const {
    const auto part = [](auto values, std::size_t begin, std::size_t end) {
      using Difference = std::ptrdiff_t;
      return decltype(values)(values.begin() + static_cast<Difference>(begin),
                              values.begin() + static_cast<Difference>(end));
    };
    const auto at = [](const std::vector<std::int32_t>& all, std::size_t j) {
      return static_cast<std::size_t>(all[j]);
    };
    Requests one = *this;
    one.count = 1;
    one.states = part(states, i * d, (i + 1) * d);
    one.has_state = {has_state[i]};
    one.age = {age[i]};
    one.rows = part(rows, at(offsets, i), at(offsets, i + 1));
    one.weights = part(weights, at(offsets, i), at(offsets, i + 1));
    one.offsets = {0, offsets[i + 1] - offsets[i]};
    one.demographics = part(demographics, 3 * i, 3 * i + 3);
    one.items = {items[i]};
    one.sequence = part(sequence, at(sequence_offsets, i) * d, at(sequence_offsets, i + 1) * d);
    one.sequence_offsets = {0, sequence_offsets[i + 1] - sequence_offsets[i]};
    return one;
  }

  HeadBatchViews Views() const {
    HeadBatchViews b;
    b.count = count;
    b.states = {states.data(), states.size()};
    b.has_state = {has_state.data(), has_state.size()};
    b.state_age = {age.data(), age.size()};
    b.subject_offsets = {offsets.data(), offsets.size()};
    b.subject_rows = {rows.data(), rows.size()};
    b.subject_weights = {weights.data(), weights.size()};
    b.demographics = {demographics.data(), demographics.size()};
    b.subject_items = {items.data(), items.size()};
    b.sequence_offsets = {sequence_offsets.data(), sequence_offsets.size()};
    b.sequence_rows = {sequence.data(), sequence.size()};
    return b;
  }

  std::size_t count;
  std::vector<float> states, age, weights, sequence;
  std::vector<std::uint8_t> has_state;
  std::vector<std::int32_t> offsets, rows, demographics, items, sequence_offsets;
};

using Row = std::vector<double>;

Row Part(const std::vector<float>& v, std::size_t begin, std::size_t n) {
  return Row(v.begin() + static_cast<std::ptrdiff_t>(begin),
             v.begin() + static_cast<std::ptrdiff_t>(begin + n));
}

/// W x (+ bias), W [n, x.size()].
Row Dense(const std::vector<float>& w, const Row& x, std::size_t n,
          const std::vector<float>* bias = nullptr) {
  Row y(n);
  for (std::size_t j = 0; j < n; ++j) {
    if (bias != nullptr) y[j] = static_cast<double>((*bias)[j]);
    for (std::size_t p = 0; p < x.size(); ++p) {
      y[j] += static_cast<double>(w[j * x.size() + p]) * x[p];
    }
  }
  return y;
}

Row Relu(Row x) {
  for (double& value : x) value = std::max(value, 0.0);
  return x;
}

/// Wo [heads of softmax(q K^T / sqrt(D / heads)) V], without folding.
Row Attended(const Model& m, const std::vector<Row>& states, const Row& c) {
  const std::size_t d = m.shape.d;
  const std::size_t width = d / m.shape.heads;
  const Row query = Dense(m.query, c, d);
  Row merged(d);
  for (std::size_t first = 0; first < d; first += width) {
    Row scores;
    for (const Row& state : states) {
      const Row key = Dense(m.key, state, d);
      double score = 0;
      for (std::size_t j = first; j < first + width; ++j) score += query[j] * key[j];
      scores.push_back(score / std::sqrt(static_cast<double>(width)));
    }
    const double best = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - best);
    for (std::size_t t = 0; t < states.size(); ++t) {
      const Row value = Dense(m.value, states[t], d);
      for (std::size_t j = first; j < first + width; ++j) merged[j] += scores[t] / total * value[j];
    }
  }
  return Dense(m.merge, merged, d);
}

/// x of an item, or zeros for none (-1).
Row ItemInput(const Model& m, std::int32_t catalogue_row) {
  const std::size_t d = m.shape.d;
  if (catalogue_row < 0) return Row(d, 0.0);
  const std::size_t item = static_cast<std::size_t>(catalogue_row);
  Row x = Part(m.ids, item * d, d);
  const auto add = [&](const std::vector<float>& table, std::int32_t row, double weight) {
    const Row part = Part(table, static_cast<std::size_t>(row) * d, d);
    for (std::size_t j = 0; j < d; ++j) x[j] += weight * part[j];
  };
  if (!m.HasFeatures()) return x;
  for (std::int32_t t = m.category_offsets[item]; t < m.category_offsets[item + 1]; ++t) {
    const std::size_t term = static_cast<std::size_t>(t);
    add(m.categories, m.category_rows[term], static_cast<double>(m.category_weights[term]));
  }
  add(m.advertisers, m.advertiser_rows[item], 1.0);
  add(m.prices, m.price_rows[item], 1.0);
  return x;
}

struct Expected {
  /// Has unit norm.
  Row u;
  /// The length of the same sums over absolute values, divided by the length of u before
  /// normalisation: the factor by which rounding is magnified.
  double cancellation;
};

double Length(const Row& x) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  return std::sqrt(squares);
}

Row Absolute(Row x) {
  for (double& value : x) value = std::fabs(value);
  return x;
}

std::vector<float> Absolute(std::vector<float> x) {
  for (float& value : x) value = std::fabs(value);
  return x;
}

Expected Reference(const Model& m, const Requests& r, std::size_t i) {
  const Shape& s = m.shape;
  const bool known = r.has_state[i] != 0;
  std::vector<Row> states = {Part(m.cold, 0, s.d)};
  if (s.fusion == HeadFusion::kAttention) {
    const std::size_t begin = static_cast<std::size_t>(r.sequence_offsets[i]);
    const std::size_t end = static_cast<std::size_t>(r.sequence_offsets[i + 1]);
    if (known) states.clear();
    for (std::size_t t = begin; t < end; ++t) states.push_back(Part(r.sequence, t * s.d, s.d));
  } else if (known) {
    states = {Part(r.states, i * s.d, s.d)};
  }
  Row z = states.back();
  if (s.fusion != HeadFusion::kNone) {
    Row x(s.e, 0.0);
    double total = 0;
    const std::size_t begin = static_cast<std::size_t>(r.offsets[i]);
    const std::size_t end = static_cast<std::size_t>(r.offsets[i + 1]);
    for (std::size_t t = begin; t < end; ++t) total += static_cast<double>(r.weights[t]);
    if (total == 0) x = Part(m.none, 0, s.e);
    for (std::size_t t = begin; t < end && total > 0; ++t) {
      const Row row = Part(m.subjects, static_cast<std::size_t>(r.rows[t]) * s.e, s.e);
      for (std::size_t j = 0; j < s.e; ++j) {
        x[j] += static_cast<double>(r.weights[t]) * row[j] / total;
      }
    }
    for (std::size_t t = 0; t < 3; ++t) {
      const std::size_t row = static_cast<std::size_t>(r.demographics[3 * i + t]);
      const Row part = Part(m.tables[t], row * s.g, s.g);
      x.insert(x.end(), part.begin(), part.end());
    }
    if (s.items > 0) {
      const Row item = ItemInput(m, r.items[i]);
      x.insert(x.end(), item.begin(), item.end());
    }
    const Row c = Relu(Dense(m.wc, x, s.f, &m.bc));
    if (s.fusion == HeadFusion::kAttention) {
      const Row attended = Attended(m, states, c);
      z.insert(z.begin(), attended.begin(), attended.end());
    }
    z.insert(z.end(), c.begin(), c.end());
    z.push_back(known ? static_cast<double>(r.age[i]) : 0.0);
  }
  const Row hidden = Relu(Dense(m.wh, z, s.h, &m.bh));
  const Row output = Dense(m.wo, hidden, s.d, &m.bo);
  const std::vector<float> bias = Absolute(m.bo);
  const Row outputs = Dense(Absolute(m.wo), hidden, s.d, &bias);
  Row u = Dense(m.ws, z, s.d);
  Row terms = Dense(Absolute(m.ws), Absolute(z), s.d);
  for (std::size_t j = 0; j < s.d; ++j) {
    u[j] += output[j];
    terms[j] += outputs[j];
  }
  const double length = Length(u);
  for (double& value : u) value /= length;
  return {u, Length(terms) / length};
}

constexpr HeadFusion kNone = HeadFusion::kNone;
constexpr HeadFusion kConcat = HeadFusion::kConcat;
constexpr HeadFusion kAttention = HeadFusion::kAttention;

const std::vector<Shape> kShapes = {{kConcat, 64, 256, 64, 32, 8},
                                    {kConcat, 7, 5, 3, 2, 1},
                                    {kConcat, 33, 65, 17, 9, 3},
                                    {kConcat, 64, 256, 64, 32, 8, 1, 11, 201},
                                    {kConcat, 7, 5, 3, 2, 1, 1, 11, 96},
                                    {kNone, 64, 128, 0, 0, 0},
                                    {kNone, 1, 1, 0, 0, 0},
                                    {kNone, 20, 31, 0, 0, 0},
                                    {kAttention, 64, 128, 96, 32, 8, 2},
                                    {kAttention, 6, 5, 7, 3, 1, 6},
                                    {kAttention, 33, 20, 17, 9, 3, 1},
                                    {kAttention, 6, 5, 7, 3, 1, 2, 11, 13}};
/// Tables with more floats than are multiplied at load: of the subjects, of the items, and of both.
const std::vector<Shape> kLarge = {{kConcat, 3, 4, 4096, 2, 1, 1, 4200},
                                   {kConcat, 3, 4, 4096, 2, 1, 1, 11, 4201},
                                   {kConcat, 3, 4, 4096, 2, 1, 1, 4200, 4101},
                                   {kConcat, 3, 4, 4096, 2, 1, 1, 4200, 7},
                                   {kAttention, 6, 5, 4096, 3, 1, 2, 11, 4101}};

void TestAgainstReference(const KernelTable& kernels, const std::vector<Shape>& shapes) {
  std::uint64_t seed = 10;
  for (const Shape& shape : shapes) {
    const Model model(shape, ++seed);
    std::unique_ptr<Head> f32, bf16;
    CHECK_OK(Head::Create(model.Views(), Precision::kF32, kernels, &f32));
    CHECK_OK(Head::Create(model.Views(), Precision::kBf16, kernels, &bf16));
    if (f32 == nullptr || bf16 == nullptr) continue;
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{2}, std::size_t{13}, std::size_t{0}, std::size_t{40}}) {
      const Requests requests(shape, count, ++seed);
      std::vector<float> out(count * shape.d + 1, 5.0f), rounded(count * shape.d);
      CHECK_OK(f32->Embed(requests.Views(), out.data(), count * shape.d));
      CHECK(out.back() == 5.0f);
      CHECK_OK(bf16->Embed(requests.Views(), rounded.data(), rounded.size()));
      bool differs = count == 0;
      for (std::size_t i = 0; i < count; ++i) {
        const auto [expected, cancellation] = Reference(model, requests, i);
        double cosine = 0, squares = 0;
        for (std::size_t j = 0; j < shape.d; ++j) {
          const float y = rounded[i * shape.d + j];
          // Six layers of f32, each of which rounds what it adds up.
          CHECK_NEAR(out[i * shape.d + j], expected[j], 6e-7 * cancellation);
          cosine += static_cast<double>(y) * expected[j];
          squares += static_cast<double>(y) * static_cast<double>(y);
          differs = differs || y != out[i * shape.d + j] || shape.d == 1;
        }
        // bf16 keeps 8 bits, and attention exponentiates the result.
        const double angle = std::sqrt(std::max(0.0, 2 * (1 - cosine / std::sqrt(squares))));
        CHECK(angle < cancellation / (shape.fusion == HeadFusion::kAttention ? 85 : 256));
      }
      CHECK(differs);
    }
  }
}

/// A request alone gives the same bits as in a batch that several threads share. A batch in which
/// embeddings have no direction is refused by the first such request.
void TestBatches(const KernelTable& kernels, const std::vector<Shape>& shapes) {
  for (const Shape& shape : shapes) {
    const Model model(shape, 60);
    std::unique_ptr<Head> head;
    CHECK_OK(Head::Create(model.Views(), Precision::kF32, kernels, &head));
    Requests requests(shape, 301, 61);
    std::vector<float> out(301 * shape.d), alone(shape.d);
    CHECK_OK(head->Embed(requests.Views(), out.data(), out.size()));
    for (std::size_t i = 0; i < 301; ++i) {
      const Requests one = requests.Only(i, shape.d);
      CHECK_OK(head->Embed(one.Views(), alone.data(), alone.size()));
      for (std::size_t j = 0; j < shape.d; ++j) CHECK(alone[j] == out[i * shape.d + j]);
    }
    std::size_t first = 0;
    for (const std::size_t i : {std::size_t{270}, std::size_t{130}}) {
      first = i;
      while (requests.has_state[first] == 0) ++first;
      const std::size_t row = static_cast<std::size_t>(requests.sequence_offsets[first]);
      requests.states[first * shape.d] = std::nanf("");
      requests.sequence[row * shape.d] = std::nanf("");
    }
    const Status status = head->Embed(requests.Views(), out.data(), out.size());
    CHECK(status.code() == StatusCode::kNonFinite);
    CHECK(status.message().find("request " + std::to_string(first) + ".") != std::string::npos);
  }
}

/// A norm whose squares f32 would lose is still a norm.
void TestNorms(const KernelTable& kernels) {
  const Shape shape = {kNone, 8, 4, 0, 0, 0};
  Model model(shape, 70);
  for (auto* values : {&model.wh, &model.bh, &model.bo}) {
    std::fill(values->begin(), values->end(), 0.0f);
  }
  std::unique_ptr<Head> head;
  CHECK_OK(Head::Create(model.Views(), Precision::kF32, kernels, &head));
  const Requests requests(shape, 1, 71);
  std::vector<float> expected(shape.d), out(shape.d);
  CHECK_OK(head->Embed(requests.Views(), expected.data(), shape.d));
  for (const float scale : {1e-25f, 1e25f}) {
    Requests scaled = requests;
    scaled.has_state[0] = 1;
    for (std::size_t j = 0; j < shape.d; ++j) {
      scaled.states[j] = scale * (requests.has_state[0] != 0 ? requests.states[j] : model.cold[j]);
    }
    CHECK_OK(head->Embed(scaled.Views(), out.data(), shape.d));
    for (std::size_t j = 0; j < shape.d; ++j) CHECK_NEAR(out[j], expected[j], 1e-6);
  }
}

void TestRefusals(const KernelTable& kernels) {
  const Shape shape = {kConcat, 8, 9, 4, 3, 2};
  const Model model(shape, 50);
  std::unique_ptr<Head> head;
  HeadWeightViews wrong = model.Views();
  wrong.skip_weight.size -= 1;
  Status status = Head::Create(wrong, Precision::kF32, kernels, &head);
  CHECK(status.code() == StatusCode::kOutOfRange);
  CHECK(status.message().find("skipWeight") != std::string::npos);

  CHECK_OK(Head::Create(model.Views(), Precision::kF32, kernels, &head));
  Requests requests(shape, 3, 51);
  requests.rows.assign(3, 1);
  requests.weights.assign(3, 1.0f);
  requests.offsets = {0, 1, 2, 3};
  std::vector<float> out(3 * shape.d);
  const auto code = [&] { return head->Embed(requests.Views(), out.data(), out.size()).code(); };
  CHECK(code() == StatusCode::kOk);
  requests.rows[1] = 11;
  CHECK(code() == StatusCode::kOutOfRange);
  requests.rows[1] = -1;
  CHECK(code() == StatusCode::kOutOfRange);
  requests.rows[1] = 0;
  requests.weights[2] = -1.0f;
  CHECK(code() == StatusCode::kOutOfRange);
  requests.weights[2] = 1.0f;
  requests.demographics[4] = 7;
  CHECK(code() == StatusCode::kOutOfRange);
  requests.demographics[4] = 0;
  requests.offsets = {0, 2, 1, 3};
  CHECK(code() == StatusCode::kOutOfRange);
  requests.offsets = {0, 1, 2, 4};
  CHECK(code() == StatusCode::kOutOfRange);
  requests.offsets = {0, 1, 2, 3};
  requests.has_state.assign(3, 1);
  requests.states[8] = std::nanf("");
  status = head->Embed(requests.Views(), out.data(), out.size());
  CHECK(status.code() == StatusCode::kNonFinite);
  CHECK(status.message().find("request 1") != std::string::npos);
  requests.has_state[1] = 0;
  CHECK(code() == StatusCode::kOk);

  const Shape wide = {kAttention, 8, 9, 4, 3, 2, 2};
  const Model attention(wide, 53);
  HeadWeightViews views = attention.Views();
  views.heads = 3;
  status = Head::Create(views, Precision::kF32, kernels, &head);
  CHECK(status.code() == StatusCode::kOutOfRange);
  CHECK(status.message().find("heads to divide embeddingWidth (8)") != std::string::npos);
  views = attention.Views();
  views.attention_output_weight.size -= 1;
  status = Head::Create(views, Precision::kF32, kernels, &head);
  CHECK(status.message().find("attention.outputWeight") != std::string::npos);
  CHECK_OK(Head::Create(attention.Views(), Precision::kF32, kernels, &head));
  requests.sequence_offsets = {0, 2, 1, 3};
  requests.sequence.assign(3 * wide.d, 1.0f);
  CHECK(code() == StatusCode::kOutOfRange);
  requests.sequence_offsets = {0, 2, 2, 4};
  CHECK(code() == StatusCode::kOutOfRange);
  requests.sequence_offsets = {0, 2, 2, 3};
  CHECK(code() == StatusCode::kOk);
  requests.sequence_offsets = {0, 3};
  CHECK(code() == StatusCode::kOutOfRange);

  const Shape viewing = {kConcat, 8, 9, 4, 3, 2, 1, 11, 5};
  const Model seen(viewing, 54);
  views = seen.Views();
  views.has_subject_items = false;
  status = Head::Create(views, Precision::kF32, kernels, &head);
  CHECK(status.message().find("[F, E + 3 G] for contextWeight") != std::string::npos);
  views = seen.Views();
  views.subject_items.advertiser_rows.size -= 1;
  status = Head::Create(views, Precision::kF32, kernels, &head);
  CHECK(status.code() == StatusCode::kOutOfRange);
  CHECK(status.message().find("advertisers.rows") != std::string::npos);
  Model infinite = seen;
  infinite.prices[3] = INFINITY;
  status = Head::Create(infinite.Views(), Precision::kF32, kernels, &head);
  CHECK(status.code() == StatusCode::kNonFinite);
  CHECK(status.message().find("prices.table") != std::string::npos);
  CHECK_OK(Head::Create(seen.Views(), Precision::kF32, kernels, &head));
  requests.items = {-1, 4, 0};
  CHECK(code() == StatusCode::kOk);
  for (const std::int32_t wrong_item : {-2, 5}) {
    requests.items[1] = wrong_item;
    status = head->Embed(requests.Views(), out.data(), out.size());
    CHECK(status.code() == StatusCode::kOutOfRange);
    CHECK(status.message().find("subjectItems, received " + std::to_string(wrong_item) + " at 1") !=
          std::string::npos);
  }
  requests.items = {0, 0};
  CHECK(code() == StatusCode::kOutOfRange);
  requests.items = {0, 0, 0};

  Model zero(shape, 52);
  for (auto* values : {&zero.wo, &zero.bo, &zero.ws})
    std::fill(values->begin(), values->end(), 0.0f);
  CHECK_OK(Head::Create(zero.Views(), Precision::kF32, kernels, &head));
  CHECK(code() == StatusCode::kNonFinite);
}

}  // namespace
}  // namespace tandem::test

int main() {
  using namespace tandem::test;
  ForEachIsa([](const tandem::KernelTable& kernels) {
    TestAgainstReference(kernels, kShapes);
    TestBatches(kernels, {{kNone, 16, 20, 12, 8, 2, 2},
                          {kConcat, 16, 20, 12, 8, 2, 2},
                          {kConcat, 16, 20, 12, 8, 2, 2, 11, 40},
                          {kAttention, 16, 20, 12, 8, 2, 2, 11, 40}});
    TestNorms(kernels);
    TestRefusals(kernels);
  });
  // The kernels do not decide when tables are multiplied, and tables this large take longer than
  // all other tests, so these run on one instruction set.
  TestAgainstReference(OneIsa(), kLarge);
  TestBatches(OneIsa(), {{kConcat, 3, 20, 4096, 8, 2, 1, 11, 4097}});
  return Finish("head");
}
