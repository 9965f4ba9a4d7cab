/* An engine's paged memory. */

#include "engine.h"

#include "program.h"

void make_engine(engine* made, int heads_outside, uint64_t flags) {
  const kvf_group_spec group = the_group();
  kvf_paged_options options = {.size = sizeof(options),
                               .group = &group,
                               .layer_count = LAYERS,
                               .block_count = ENGINE_BLOCKS,
                               .flags = flags};
  int i;
  memset(made->memory, 0, sizeof(made->memory));
  for (i = 0; i < LAYERS; ++i) {
    kvf_paged_layer* const layer = &made->layers[i];
    memset(layer, 0, sizeof(*layer));
    layer->size = sizeof(*layer);
    layer->base = made->memory[i];
    layer->kv_stride = ENGINE_BLOCKS * BLOCK_TOKENS * TOKEN_BYTES;
    layer->block_stride = BLOCK_TOKENS * TOKEN_BYTES;
    layer->token_stride = heads_outside ? HEAD_BYTES : TOKEN_BYTES;
    layer->head_stride = heads_outside ? BLOCK_TOKENS * HEAD_BYTES : HEAD_BYTES;
  }
  options.layers = made->layers;
  made->paged = NULL;
  CHECK_OK(kvf_paged_create(&options, &made->paged));
}

void fill_engine(engine* filled, uint32_t number) {
  uint32_t i;
  for (i = 0; i < LAYERS; ++i) {
    fill_block(filled->memory[i], LAYER_BYTES, number + i);
  }
}

static const uint8_t* head_at(const engine* of, int layer, int kv,
                              uint64_t block, int token, int head) {
  const kvf_paged_layer* const at = &of->layers[layer];
  return of->memory[layer] + kv * at->kv_stride +
         (int64_t)block * at->block_stride + token * at->token_stride +
         head * at->head_stride;
}

int same_block(const engine* a, uint64_t block_a, const engine* b,
               uint64_t block_b, int tokens) {
  int layer, kv, token, head;
  for (layer = 0; layer < LAYERS; ++layer) {
    for (kv = 0; kv < 2; ++kv) {
      for (token = 0; token < tokens; ++token) {
        for (head = 0; head < ALL_HEADS; ++head) {
          if (memcmp(head_at(a, layer, kv, block_a, token, head),
                     head_at(b, layer, kv, block_b, token, head),
                     HEAD_BYTES) != 0) {
            return 0;
          }
        }
      }
    }
  }
  return 1;
}
