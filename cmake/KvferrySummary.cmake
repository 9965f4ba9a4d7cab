# The last words of a configuration: what this build will and will not have.
get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT CMAKE_BUILD_TYPE AND NOT multi_config)
  message(WARNING "No build type: the result is slow. Use a preset "
    "(`cmake --preset release`) or -DCMAKE_BUILD_TYPE=RelWithDebInfo.")
endif()

set(kvferry_compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
if(CMAKE_CXX_COMPILER_LAUNCHER)
  string(APPEND kvferry_compiler ", through ${CMAKE_CXX_COMPILER_LAUNCHER}")
endif()
set(kvferry_sanitizers "none")
if(KVFERRY_SANITIZE)
  set(kvferry_sanitizers "${KVFERRY_SANITIZE}")
endif()
string(TOUPPER "${CMAKE_BUILD_TYPE}" kvferry_type)

message(STATUS "KVFerry ${PROJECT_VERSION}")
message(STATUS "  compiler    ${kvferry_compiler}")
message(STATUS "  build type  ${CMAKE_BUILD_TYPE}, "
  "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${kvferry_type}}")
message(STATUS "  sanitizers  ${kvferry_sanitizers}")
message(STATUS "  CUDA        ${KVFERRY_CUDA_DESCRIPTION}")
message(STATUS "  tests       ${KVFERRY_BUILD_TESTS}")
message(STATUS "  benchmarks  ${KVFERRY_BUILD_BENCHMARKS}")
message(STATUS "  prefix      ${CMAKE_INSTALL_PREFIX}")
