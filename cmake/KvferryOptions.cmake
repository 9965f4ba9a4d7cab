# Warnings and sanitizers, on an interface target that is never exported.
add_library(kvferry_options INTERFACE)
target_compile_options(kvferry_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wvla
  -Wimplicit-fallthrough -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(kvferry_options INTERFACE -Wthread-safety)
endif()
if(KVFERRY_SANITIZE)
  target_compile_options(kvferry_options INTERFACE
    -fsanitize=${KVFERRY_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(kvferry_options INTERFACE
    -fsanitize=${KVFERRY_SANITIZE})
  target_compile_definitions(kvferry_options INTERFACE KVFERRY_SANITIZED=1)
  if(KVFERRY_SANITIZE MATCHES "undefined")
    target_compile_options(kvferry_options INTERFACE
      -fno-sanitize-recover=undefined)
  endif()
  if(KVFERRY_SANITIZE MATCHES "thread")
    # gcc does not model fences under TSan and says so on each one; ordering is
    # proven by the SPIN model and the litmus test instead (docs/testing.md).
    target_compile_options(kvferry_options INTERFACE -Wno-tsan)
  endif()
endif()
