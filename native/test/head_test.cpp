// The fused head of every instruction set against the formula of docs/model.md in f64, and what it refuses.

#include "core/head.h"

#include <algorithm>

#include "check.h"

namespace tandem::test {
namespace {

struct Shape {
  bool context;
  std::size_t d, h, f, e, g;
};

constexpr std::size_t kSubjects = 11;
constexpr std::size_t kRows[3] = {5, 7, 3};

struct Model {
  Model(const Shape& s, std::uint64_t seed) : shape(s) {
    Random random(seed);
    const std::size_t z = s.context ? s.d + s.f + 1 : s.d;
    const std::size_t x = s.e + 3 * s.g;
    cold = random.Floats(s.d);
    wh = random.Floats(s.h * z);
    bh = random.Floats(s.h);
    wo = random.Floats(s.d * s.h);
    bo = random.Floats(s.d);
    ws = random.Floats(s.d * z);
    subjects = random.Floats(kSubjects * s.e);
    none = random.Floats(s.e);
    for (int t = 0; t < 3; ++t) tables[t] = random.Floats(kRows[t] * s.g);
    wc = random.Floats(s.f * x);
    bc = random.Floats(s.f);
  }

  HeadWeightViews Views() const {
    const auto view = [](const std::vector<float>& v) { return FloatView{v.data(), v.size()}; };
    HeadWeightViews w;
    w.fusion = shape.context ? HeadFusion::kConcat : HeadFusion::kNone;
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
    return w;
  }

  Shape shape;
  std::vector<float> cold, wh, bh, wo, bo, ws, subjects, none, wc, bc;
  std::vector<float> tables[3];
};

struct Requests {
  Requests(const Shape& s, std::size_t n, std::uint64_t seed) : count(n) {
    Random random(seed);
    states = random.Floats(n * s.d);
    offsets.push_back(0);
    for (std::size_t i = 0; i < n; ++i) {
      has_state.push_back(random.Below(4) == 0 ? 0 : 1);
      age.push_back(std::fabs(random.Unit()));
      const std::size_t terms = random.Below(4);
      for (std::size_t t = 0; t < terms; ++t) {
        rows.push_back(static_cast<std::int32_t>(random.Below(kSubjects)));
        weights.push_back(random.Below(3) == 0 ? 0.0f : std::fabs(random.Unit()));
      }
      offsets.push_back(static_cast<std::int32_t>(rows.size()));
      for (int t = 0; t < 3; ++t) {
        demographics.push_back(static_cast<std::int32_t>(random.Below(kRows[t])));
      }
    }
  }

  HeadBatchViews Views() const {
    HeadBatchViews b;
    b.count = count;
    b.states = {states.data(), states.size()};
    b.has_state = has_state.data();
    b.has_state_size = has_state.size();
    b.state_age = {age.data(), age.size()};
    b.subject_offsets = {offsets.data(), offsets.size()};
    b.subject_rows = {rows.data(), rows.size()};
    b.subject_weights = {weights.data(), weights.size()};
    b.demographics = {demographics.data(), demographics.size()};
    return b;
  }

  std::size_t count;
  std::vector<float> states, age, weights;
  std::vector<std::uint8_t> has_state;
  std::vector<std::int32_t> offsets, rows, demographics;
};

std::vector<double> Reference(const Model& m, const Requests& r, std::size_t i) {
  const Shape& s = m.shape;
  const auto at = [](const std::vector<float>& v, std::size_t j) {
    return static_cast<double>(v[j]);
  };
  std::vector<double> z;
  for (std::size_t j = 0; j < s.d; ++j) {
    z.push_back(r.has_state[i] != 0 ? at(r.states, i * s.d + j) : at(m.cold, j));
  }
  if (s.context) {
    std::vector<double> x(s.e, 0.0);
    double total = 0;
    const std::size_t begin = static_cast<std::size_t>(r.offsets[i]);
    const std::size_t end = static_cast<std::size_t>(r.offsets[i + 1]);
    for (std::size_t t = begin; t < end; ++t) total += at(r.weights, t);
    for (std::size_t j = 0; j < s.e; ++j) {
      if (total == 0) {
        x[j] = at(m.none, j);
        continue;
      }
      for (std::size_t t = begin; t < end; ++t) {
        x[j] += at(r.weights, t) * at(m.subjects, static_cast<std::size_t>(r.rows[t]) * s.e + j) /
                total;
      }
    }
    for (std::size_t t = 0; t < 3; ++t) {
      const std::size_t row = static_cast<std::size_t>(r.demographics[3 * i + t]);
      for (std::size_t j = 0; j < s.g; ++j) x.push_back(at(m.tables[t], row * s.g + j));
    }
    for (std::size_t j = 0; j < s.f; ++j) {
      double sum = at(m.bc, j);
      for (std::size_t p = 0; p < x.size(); ++p) sum += at(m.wc, j * x.size() + p) * x[p];
      z.push_back(std::max(sum, 0.0));
    }
    z.push_back(r.has_state[i] != 0 ? at(r.age, i) : 0.0);
  }
  std::vector<double> hidden;
  for (std::size_t j = 0; j < s.h; ++j) {
    double sum = at(m.bh, j);
    for (std::size_t p = 0; p < z.size(); ++p) sum += at(m.wh, j * z.size() + p) * z[p];
    hidden.push_back(std::max(sum, 0.0));
  }
  std::vector<double> u;
  double squares = 0;
  for (std::size_t j = 0; j < s.d; ++j) {
    double sum = at(m.bo, j);
    for (std::size_t p = 0; p < s.h; ++p) sum += at(m.wo, j * s.h + p) * hidden[p];
    for (std::size_t p = 0; p < z.size(); ++p) sum += at(m.ws, j * z.size() + p) * z[p];
    u.push_back(sum);
    squares += sum * sum;
  }
  for (double& value : u) value /= std::sqrt(squares);
  return u;
}

void TestAgainstReference(const KernelTable& kernels) {
  const Shape shapes[] = {{true, 64, 256, 64, 32, 8}, {true, 7, 5, 3, 2, 1},
                          {true, 33, 65, 17, 9, 3},   {false, 64, 128, 0, 0, 0},
                          {false, 1, 1, 0, 0, 0},     {false, 20, 31, 0, 0, 0}};
  std::uint64_t seed = 10;
  for (const Shape& shape : shapes) {
    const Model model(shape, ++seed);
    std::unique_ptr<Head> head;
    CHECK_OK(Head::Create(model.Views(), Precision::kF32, kernels, &head));
    if (head == nullptr) continue;
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{2}, std::size_t{13}, std::size_t{0}, std::size_t{64}}) {
      const Requests requests(shape, count, ++seed);
      std::vector<float> out(count * shape.d + 1, 5.0f);
      CHECK_OK(head->Embed(requests.Views(), out.data(), count * shape.d));
      CHECK(out.back() == 5.0f);
      for (std::size_t i = 0; i < count; ++i) {
        const std::vector<double> expected = Reference(model, requests, i);
        // u has unit norm; 6 sums of up to 450 terms, f32.
        for (std::size_t j = 0; j < shape.d; ++j)
          CHECK_NEAR(out[i * shape.d + j], expected[j], 5e-6);
      }
      // One request alone gives what it gives inside the batch: nothing leaks between rows.
      if (count == 13 && !shape.context) {
        HeadBatchViews one = requests.Views();
        one.count = 1;
        one.states = {requests.states.data() + 12 * shape.d, shape.d};
        one.has_state = requests.has_state.data() + 12;
        one.has_state_size = 1;
        std::vector<float> alone(shape.d);
        CHECK_OK(head->Embed(one, alone.data(), shape.d));
        for (std::size_t j = 0; j < shape.d; ++j) CHECK(alone[j] == out[12 * shape.d + j]);
      }
    }
  }
}

void TestRefusals(const KernelTable& kernels) {
  const Shape shape = {true, 8, 9, 4, 3, 2};
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
  requests.rows[1] = kSubjects;
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
    TestAgainstReference(kernels);
    TestRefusals(kernels);
  });
  return Finish("head");
}
