// The engine's small kernels against what their formulas say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "sdk/examples/llama/exponential.h"
#include "sdk/examples/llama/matrix.h"
#include "sdk/examples/llama/random.h"
#include "sdk/examples/llama/rms_norm.h"
#include "sdk/examples/llama/rope.h"
#include "sdk/examples/llama/swiglu.h"

namespace kvferry::llama {
namespace {

using ::testing::ElementsAreArray;
using ::testing::FloatNear;
using ::testing::Pointwise;

std::vector<float> RandomValues(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = 2.0f * random.Symmetric();
  return values;
}

TEST(ExponentialTest, IsWithinItsErrorOverItsWholeRange) {
  for (float x = -87.0f; x <= 88.0f; x += 0.0137f) {
    const double expected = std::exp(static_cast<double>(x));
    EXPECT_NEAR(Exponential(x) / expected, 1.0, 3e-7) << "x = " << x;
  }
  EXPECT_EQ(Exponential(0.0f), 1.0f);
}

TEST(ExponentialTest, ClampsWhatIsBeyondAndKeepsNotANumber) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();

  EXPECT_EQ(Exponential(-kInfinity), Exponential(-87.0f));
  EXPECT_EQ(Exponential(kInfinity), Exponential(88.0f));
  EXPECT_TRUE(std::isnan(Exponential(std::nanf(""))));
}

TEST(ExponentialTest, LanesDoNotMix) {
  const Float4 result = Exponential(Float4{-3.0f, 0.5f, 2.0f, -50.0f});

  EXPECT_EQ(result[0], Exponential(-3.0f));
  EXPECT_EQ(result[1], Exponential(0.5f));
  EXPECT_EQ(result[2], Exponential(2.0f));
  EXPECT_EQ(result[3], Exponential(-50.0f));
}

TEST(RandomTest, IsTheSplitmix64Sequence) {
  // The first outputs for seed 1234567, as published with the generator.
  Random random(1234567);

  EXPECT_EQ(random.Next(), 6457827717110365317u);
  EXPECT_EQ(random.Next(), 3203168211198807973u);
}

TEST(RandomTest, SymmetricFillsTheRangeEvenly) {
  Random random(5);
  double sum = 0;
  double squares = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const float value = random.Symmetric();
    ASSERT_GE(value, -1.0f);
    ASSERT_LT(value, 1.0f);
    sum += value;
    squares += double{value} * value;
  }

  EXPECT_NEAR(sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(squares / kCount, 1.0 / 3.0, 0.01);
}

// Goal    A product is right for sizes that do not fill the tiles, and a row's
//         result does not depend on the rows beside it.
// Method  37 x 21 numbers, one to five rows, against a plain sum and against
//         each row multiplied alone.
TEST(MatrixTest, MultipliesRowsOnTheirOwn) {
  constexpr uint32_t kInputDim = 37;
  constexpr uint32_t kOutputDim = 21;
  Matrix matrix(kInputDim, kOutputDim);
  Random random(3);
  for (uint32_t i = 0; i < kInputDim; ++i) {
    for (uint32_t o = 0; o < kOutputDim; ++o) {
      matrix.at(i, o) = random.Symmetric();
    }
  }
  for (uint32_t row_count = 1; row_count <= 5; ++row_count) {
    const std::vector<float> inputs = RandomValues(kInputDim * row_count, 4);
    std::vector<float> outputs(kOutputDim * row_count);

    Multiply(matrix, inputs.data(), row_count, outputs.data());

    for (uint32_t row = 0; row < row_count; ++row) {
      const float* input = inputs.data() + row * kInputDim;
      std::vector<float> alone(kOutputDim);
      Multiply(matrix, input, 1, alone.data());
      for (uint32_t o = 0; o < kOutputDim; ++o) {
        double expected = 0;
        for (uint32_t i = 0; i < kInputDim; ++i) {
          expected += double{input[i]} * matrix.at(i, o);
        }
        EXPECT_NEAR(alone[o], expected, 1e-5);
        EXPECT_EQ(outputs[row * kOutputDim + o], alone[o]);
      }
    }
  }
}

TEST(RmsNormTest, DividesByTheRootOfTheMeanSquare) {
  const std::vector<float> input = {3.0f, -4.0f, 0.0f, 0.0f, 5.0f};
  const std::vector<float> gain = {1.0f, 1.0f, 1.0f, 1.0f, 2.0f};
  std::vector<float> output(5);

  RmsNorm(input, gain, /*epsilon=*/0.0f, output);

  const float root = std::sqrt(10.0f);  // (9 + 16 + 25) / 5
  EXPECT_THAT(output, Pointwise(FloatNear(1e-6f), {3.0f / root, -4.0f / root,
                                                   0.0f, 0.0f, 10.0f / root}));
}

TEST(RmsNormTest, EpsilonKeepsZerosFinite) {
  const std::vector<float> input(8, 0.0f);
  const std::vector<float> gain(8, 1.0f);
  std::vector<float> output(8, -1.0f);

  RmsNorm(input, gain, 1e-5f, output);

  EXPECT_THAT(output, ElementsAreArray(input));
}

TEST(RmsNormTest, MayWriteOverItsInput) {
  std::vector<float> values = RandomValues(19, 7);
  const std::vector<float> gain = RandomValues(19, 8);
  std::vector<float> apart(19);
  RmsNorm(values, gain, 1e-5f, apart);

  RmsNorm(values, gain, 1e-5f, values);

  EXPECT_THAT(values, ElementsAreArray(apart));
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

TEST(RopeTest, LeavesPositionZeroAsItIs) {
  const Rope rope(16, 8, 10000.0f);
  std::vector<float> heads = RandomValues(32, 1);
  const std::vector<float> before = heads;

  rope.Rotate(0, heads);

  EXPECT_THAT(heads, ElementsAreArray(before));
}

TEST(RopeTest, TurnsTheFirstPairByThePosition) {
  const Rope rope(16, 8, 10000.0f);
  std::vector<float> head(16, 0.0f);
  head[0] = 1.0f;  // paired with element 8, at frequency 1

  rope.Rotate(3, head);

  EXPECT_FLOAT_EQ(head[0], std::cos(3.0f));
  EXPECT_FLOAT_EQ(head[8], std::sin(3.0f));
}

// Goal    Turning keeps lengths, and a product depends on the distance alone.
// Method  One query and one key at many positions 7 apart.
TEST(RopeTest, ProductsDependOnTheDistanceAlone) {
  const Rope rope(16, 1000, 10000.0f);
  const std::vector<float> query = RandomValues(16, 1);
  const std::vector<float> key = RandomValues(16, 2);
  std::vector<float> query_at_7 = query;
  rope.Rotate(7, query_at_7);
  const double expected = Dot(query_at_7, key);
  ASSERT_GT(std::abs(expected - Dot(query, key)), 0.1);

  for (uint32_t position = 0; position + 7 < 1000; position += 31) {
    std::vector<float> turned_query = query;
    std::vector<float> turned_key = key;
    rope.Rotate(position + 7, turned_query);
    rope.Rotate(position, turned_key);

    EXPECT_NEAR(Dot(turned_query, turned_key), expected, 1e-5);
    EXPECT_NEAR(Dot(turned_key, turned_key), Dot(key, key), 1e-5);
  }
}

TEST(SwiGluTest, IsGateTimesItsSigmoidTimesUp) {
  std::vector<float> gate = {-30.0f, -1.0f, 0.0f, 0.5f, 30.0f};
  const std::vector<float> up = {2.0f, 3.0f, 4.0f, -1.0f, 0.5f};
  std::vector<float> expected;
  for (size_t i = 0; i < gate.size(); ++i) {
    expected.push_back(gate[i] / (1.0f + std::exp(-gate[i])) * up[i]);
  }

  SwiGlu(up, gate);

  EXPECT_THAT(gate, Pointwise(FloatNear(1e-6f), expected));
}

}  // namespace
}  // namespace kvferry::llama
