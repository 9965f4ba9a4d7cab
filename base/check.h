#ifndef KVFERRY_BASE_CHECK_H_
#define KVFERRY_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

// Ends the process when a condition of our own state does not hold. For bugs
// only: nothing that a client can send or write may reach one.
#define KVFERRY_CHECK(condition)                                            \
  do {                                                                      \
    if (!(condition)) [[unlikely]] {                                        \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, \
                   #condition);                                             \
      std::abort();                                                         \
    }                                                                       \
  } while (false)

#endif  // KVFERRY_BASE_CHECK_H_
