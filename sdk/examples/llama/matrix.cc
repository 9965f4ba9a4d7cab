#include "sdk/examples/llama/matrix.h"

#include <algorithm>

#include "sdk/examples/llama/float4.h"

namespace kvferry::llama {
namespace {

constexpr uint32_t kWidth = Matrix::kTileWidth;
constexpr uint32_t kVectors = kWidth / kFloat4Width;

// `kRows` rows of one tile; the sums stay in registers over all inputs. Two
// rows at once share the loads of the weights and hide the latency of the
// additions; each row's sums are the same as alone.
template <uint32_t kRows>
void MultiplyTile(const float* tile, const float* inputs, uint32_t input_dim,
                  float (*sums)[kWidth]) {
  Float4 sum[kRows][kVectors] = {};
  for (uint32_t i = 0; i < input_dim; ++i, tile += kWidth) {
    for (uint32_t v = 0; v < kVectors; ++v) {
      const Float4 weights = Load4(tile + v * kFloat4Width);
      for (uint32_t row = 0; row < kRows; ++row) {
        sum[row][v] += inputs[size_t{row} * input_dim + i] * weights;
      }
    }
  }
  for (uint32_t row = 0; row < kRows; ++row) {
    for (uint32_t v = 0; v < kVectors; ++v) {
      Store4(sum[row][v], sums[row] + v * kFloat4Width);
    }
  }
}

}  // namespace

void Multiply(const Matrix& matrix, const float* inputs, uint32_t row_count,
              float* outputs) {
  const uint32_t input_dim = matrix.input_dim();
  const uint32_t output_dim = matrix.output_dim();
  float sums[2][kWidth];
  // Tiles outside, rows inside: a tile stays in the first cache for all rows.
  for (uint32_t tile = 0; tile < matrix.tile_count(); ++tile) {
    const uint32_t first = tile * kWidth;
    const uint32_t count = std::min(kWidth, output_dim - first);
    for (uint32_t row = 0; row < row_count; row += 2) {
      const float* input = inputs + size_t{row} * input_dim;
      float* output = outputs + size_t{row} * output_dim + first;
      if (row + 1 < row_count) {
        MultiplyTile<2>(matrix.tile(tile), input, input_dim, sums);
        std::copy(sums[1], sums[1] + count, output + output_dim);
      } else {
        MultiplyTile<1>(matrix.tile(tile), input, input_dim, sums);
      }
      std::copy(sums[0], sums[0] + count, output);
    }
  }
}

}  // namespace kvferry::llama
