#include "tests/unit/sdk/examples/llama/reference_model.h"

#include <algorithm>
#include <cmath>
#include <complex>

namespace kvferry::llama {
namespace {

Vector Product(const Matrix& matrix, const Vector& input) {
  Vector output(matrix.output_dim());
  for (uint32_t o = 0; o < matrix.output_dim(); ++o) {
    for (uint32_t i = 0; i < matrix.input_dim(); ++i) {
      output[o] += input[i] * matrix.at(i, o);
    }
  }
  return output;
}

Vector Normed(const Vector& input, const std::vector<float>& gain,
              double epsilon) {
  double squares = 0;
  for (const double x : input) squares += x * x;
  const double size = static_cast<double>(input.size());
  const double root = std::sqrt(squares / size + epsilon);
  Vector output(input.size());
  for (size_t i = 0; i < input.size(); ++i) {
    output[i] = input[i] / root * gain[i];
  }
  return output;
}

// Head `head` of a projection.
Vector HeadOf(const Vector& projection, uint32_t head, uint32_t head_dim) {
  const auto begin = projection.begin() + head * head_dim;
  return Vector(begin, begin + head_dim);
}

// Elements i and i + d/2 as a complex number, turned by its frequency.
Vector Turned(const Vector& head, double position, double theta) {
  const size_t half = head.size() / 2;
  Vector turned(head.size());
  for (size_t i = 0; i < half; ++i) {
    const double angle =
        position /
        std::pow(theta, static_cast<double>(i) / static_cast<double>(half));
    const std::complex<double> value =
        std::complex<double>(head[i], head[i + half]) * std::polar(1.0, angle);
    turned[i] = value.real();
    turned[i + half] = value.imag();
  }
  return turned;
}

void AddTo(const Vector& addend, Vector* sum) {
  for (size_t i = 0; i < sum->size(); ++i) (*sum)[i] += addend[i];
}

void AttendLayer(const LayerWeights& layer, const ModelConfig& config,
                 std::vector<Vector>* states) {
  const size_t count = states->size();
  // [kv head][position]
  std::vector<std::vector<Vector>> keys(config.kv_head_count);
  std::vector<std::vector<Vector>> values(config.kv_head_count);
  std::vector<Vector> queries;
  for (size_t position = 0; position < count; ++position) {
    const Vector normed =
        Normed((*states)[position], layer.attention_gain, config.norm_epsilon);
    const Vector key = Product(layer.key, normed);
    const Vector value = Product(layer.value, normed);
    queries.push_back(Product(layer.query, normed));
    for (uint32_t head = 0; head < config.kv_head_count; ++head) {
      keys[head].push_back(Turned(HeadOf(key, head, config.head_dim),
                                  static_cast<double>(position),
                                  config.rope_theta));
      values[head].push_back(HeadOf(value, head, config.head_dim));
    }
  }
  for (size_t position = 0; position < count; ++position) {
    Vector mixed;
    for (uint32_t head = 0; head < config.head_count; ++head) {
      const uint32_t kv_head = head * config.kv_head_count / config.head_count;
      const auto seen = static_cast<std::ptrdiff_t>(position + 1);
      const Vector output = ReferenceAttention(
          Turned(HeadOf(queries[position], head, config.head_dim),
                 static_cast<double>(position), config.rope_theta),
          {keys[kv_head].begin(), keys[kv_head].begin() + seen},
          {values[kv_head].begin(), values[kv_head].begin() + seen});
      mixed.insert(mixed.end(), output.begin(), output.end());
    }
    AddTo(Product(layer.attention_output, mixed), &(*states)[position]);
  }
}

void FeedForward(const LayerWeights& layer, const ModelConfig& config,
                 Vector* state) {
  const Vector normed =
      Normed(*state, layer.feed_forward_gain, config.norm_epsilon);
  Vector hidden = Product(layer.gate, normed);
  const Vector up = Product(layer.up, normed);
  for (size_t i = 0; i < hidden.size(); ++i) {
    hidden[i] = hidden[i] / (1.0 + std::exp(-hidden[i])) * up[i];
  }
  AddTo(Product(layer.down, hidden), state);
}

}  // namespace

Vector ReferenceAttention(const Vector& query, const std::vector<Vector>& keys,
                          const std::vector<Vector>& values) {
  Vector weights;
  for (const Vector& key : keys) {
    double product = 0;
    for (size_t i = 0; i < key.size(); ++i) product += query[i] * key[i];
    weights.push_back(product / std::sqrt(static_cast<double>(query.size())));
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) {
    weight = std::exp(weight - largest);
    sum += weight;
  }
  Vector output(query.size());
  for (size_t position = 0; position < values.size(); ++position) {
    for (size_t i = 0; i < output.size(); ++i) {
      output[i] += weights[position] / sum * values[position][i];
    }
  }
  return output;
}

Vector ReferenceLogits(const Weights& weights,
                       std::span<const uint32_t> tokens) {
  const ModelConfig& config = weights.config();
  std::vector<Vector> states;
  for (const uint32_t token : tokens) {
    const float* embedding = weights.embedding(token);
    states.emplace_back(embedding, embedding + config.model_dim);
  }
  for (uint32_t layer = 0; layer < config.layer_count; ++layer) {
    AttendLayer(weights.layer(layer), config, &states);
    for (Vector& state : states) {
      FeedForward(weights.layer(layer), config, &state);
    }
  }
  return Product(weights.logits(), Normed(states.back(), weights.final_gain(),
                                          config.norm_epsilon));
}

}  // namespace kvferry::llama
