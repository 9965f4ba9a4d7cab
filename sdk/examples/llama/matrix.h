#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_MATRIX_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvferry::llama {

// A weight matrix that maps input_dim numbers to output_dim.
//
// Stored in tiles of kTileWidth outputs, [tile][input][output of the tile], the
// last tile padded with zeros: a product then runs over kTileWidth independent
// sums at once, each in the order of the inputs, and reads memory straight on.
class Matrix {
 public:
  static constexpr uint32_t kTileWidth = 16;

  Matrix(uint32_t input_dim, uint32_t output_dim)
      : input_dim_(input_dim),
        output_dim_(output_dim),
        values_(size_t{tile_count()} * input_dim * kTileWidth) {}

  uint32_t input_dim() const { return input_dim_; }
  uint32_t output_dim() const { return output_dim_; }
  uint32_t tile_count() const {
    return (output_dim_ + kTileWidth - 1) / kTileWidth;
  }

  float& at(uint32_t input, uint32_t output) {
    return values_[Index(input, output)];
  }
  float at(uint32_t input, uint32_t output) const {
    return values_[Index(input, output)];
  }

  // Tile `tile`: input_dim() rows of kTileWidth values.
  const float* tile(uint32_t tile) const {
    return values_.data() + size_t{tile} * input_dim_ * kTileWidth;
  }

 private:
  size_t Index(uint32_t input, uint32_t output) const {
    return (size_t{output / kTileWidth} * input_dim_ + input) * kTileWidth +
           output % kTileWidth;
  }

  uint32_t input_dim_;
  uint32_t output_dim_;
  std::vector<float> values_;
};

// For each of `row_count` rows: output = input x matrix. Rows lie behind each
// other; each is computed on its own, whatever the others are.
void Multiply(const Matrix& matrix, const float* inputs, uint32_t row_count,
              float* outputs);

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_MATRIX_H_
