#ifndef KVFERRY_TESTS_INTEGRATION_C_API_PROGRAM_H_
#define KVFERRY_TESTS_INTEGRATION_C_API_PROGRAM_H_

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvferry/kvferry.h"

// What the C programs of this folder have in common. Each runs one scenario,
// named on its command line, against the daemon at a socket, and ends with 1
// and a line that says where when something is not as it should be.

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

#define CHECK_CODE(call, code)                                              \
  do {                                                                      \
    const kvf_status got = (call);                                          \
    if (got != (code)) {                                                    \
      fprintf(stderr, "%s:%d: %s is %s (%s), not %s\n", __FILE__, __LINE__, \
              #call, kvf_status_name(got), kvf_error_message(),             \
              kvf_status_name(code));                                       \
      exit(1);                                                              \
    }                                                                       \
  } while (0)

#define CHECK_OK(call) CHECK_CODE(call, KVF_OK)

// The call fails with `code`, and its message says `text`.
#define CHECK_FAILS(call, code, text)                                  \
  do {                                                                 \
    CHECK_CODE(call, code);                                            \
    if (strstr(kvf_error_message(), (text)) == NULL) {                 \
      fprintf(stderr, "%s:%d: %s says \"%s\", not \"%s\"\n", __FILE__, \
              __LINE__, #call, kvf_error_message(), (text));           \
      exit(1);                                                         \
    }                                                                  \
  } while (0)

typedef struct scenario {
  const char* name;
  void (*run)(const char* socket_path);
} scenario;

// Runs the scenario argv[2] with the socket argv[1].
static inline int run_scenario(int argc, char** argv, const scenario* scenarios,
                               size_t count) {
  size_t i;
  if (argc == 3) {
    for (i = 0; i < count; ++i) {
      if (strcmp(scenarios[i].name, argv[2]) != 0) continue;
      scenarios[i].run(argv[1]);
      return 0;
    }
  }
  fprintf(stderr, "usage: %s SOCKET SCENARIO\n", argv[0]);
  return 2;
}

#define SECOND INT64_C(1000000000)

#endif  // KVFERRY_TESTS_INTEGRATION_C_API_PROGRAM_H_
