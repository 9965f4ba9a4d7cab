#ifndef KVFERRY_TESTS_INTEGRATION_C_API_ENGINE_H_
#define KVFERRY_TESTS_INTEGRATION_C_API_ENGINE_H_

#include "current_program.h"

// An engine's paged memory of the_group(), all slices.

enum {
  ENGINE_BLOCKS = 8,
  ALL_HEADS = HEADS * SLICES,
  TOKEN_BYTES = ALL_HEADS * HEAD_BYTES,
  LAYER_BYTES = 2 * ENGINE_BLOCKS * BLOCK_TOKENS * TOKEN_BYTES
};

typedef struct engine {
  uint8_t memory[LAYERS][LAYER_BYTES];
  kvf_paged_layer layers[LAYERS];
  kvf_paged* paged;
} engine;

// Heads inside tokens, or tokens inside heads. `flags` are KVF_PAGED_*.
void make_engine(engine* made, int heads_outside, uint64_t flags);
// Fills all of its memory with bytes that follow from `number`.
void fill_engine(engine* filled, uint32_t number);
// Whether the first `tokens` tokens of two blocks are the same.
int same_block(const engine* a, uint64_t block_a, const engine* b,
               uint64_t block_b, int tokens);

#endif  // KVFERRY_TESTS_INTEGRATION_C_API_ENGINE_H_
