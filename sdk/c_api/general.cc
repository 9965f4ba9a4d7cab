#include "kvferry/kvferry.h"

// What the library says of itself.

extern "C" {

const char* kvf_version(void) { return KVFERRY_VERSION; }

uint32_t kvf_abi_version(void) { return KVF_ABI_VERSION; }

}  // extern "C"
