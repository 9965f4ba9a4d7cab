# kvferry_add_library(NAME SOURCES ... HEADERS ... PUBLIC_DEPS ... PRIVATE_DEPS ...)
#
# A static library kvferry_NAME with the alias kvferry::NAME. Includes are
# written from the root of the tree ("base/unique_fd.h").
function(kvferry_add_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;HEADERS;PUBLIC_DEPS;PRIVATE_DEPS"
    ${ARGN})
  add_library(kvferry_${name} STATIC ${arg_SOURCES} ${arg_HEADERS})
  add_library(kvferry::${name} ALIAS kvferry_${name})
  target_include_directories(kvferry_${name} PUBLIC
    ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
    ${PROJECT_BINARY_DIR}/generated)
  target_link_libraries(kvferry_${name}
    PUBLIC ${arg_PUBLIC_DEPS}
    PRIVATE kvferry_options ${arg_PRIVATE_DEPS})
endfunction()

# kvferry_add_executable(NAME SOURCES ... DEPS ...)
function(kvferry_add_executable name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE
    ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${name} PRIVATE kvferry_options ${arg_DEPS})
endfunction()

# kvferry_label_targets(NAME LABELS ...)
#
# Has `ninja kvferry_tests_LABEL` build the target NAME, for each label: a tier
# builds what it runs and nothing else.
function(kvferry_label_targets name)
  cmake_parse_arguments(arg "" "" "LABELS" ${ARGN})
  foreach(label IN LISTS arg_LABELS)
    if(NOT TARGET kvferry_tests_${label})
      add_custom_target(kvferry_tests_${label})
    endif()
    add_dependencies(kvferry_tests_${label} ${name})
  endforeach()
endfunction()

# kvferry_add_test(NAME SOURCES ... DEPS ... LABELS ... [TIMEOUT s])
#
# A GoogleTest executable whose cases ctest discovers one by one.
function(kvferry_add_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  kvferry_add_executable(${name} SOURCES ${arg_SOURCES}
    DEPS ${arg_DEPS} GTest::gmock_main)
  kvferry_label_targets(${name} LABELS ${arg_LABELS})
  # One word, `unit-threads`: gtest_discover_tests of CMake 3.25 loses all of a
  # list but its first element. The presets' filters match parts of it.
  string(REPLACE ";" "-" label "${arg_LABELS}")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${label} TIMEOUT ${arg_TIMEOUT})
endfunction()

# kvferry_gpu_suite(NAME [FILTER pattern] [KERNELS] [PROGRAMS target ...])
#
# Carries the test program NAME to machines with a GPU (`./dev bundle gpu`),
# where it runs with KVFERRY_TEST_DEVICE=cuda: the tests whose names match
# `pattern` of GoogleTest, all unless given. PROGRAMS are what it starts, beside
# the daemon and the tools. KERNELS: it runs under compute-sanitizer, too.
function(kvferry_gpu_suite name)
  cmake_parse_arguments(arg "KERNELS" "FILTER" "PROGRAMS" ${ARGN})
  if(NOT arg_FILTER)
    set(arg_FILTER "*")
  endif()
  set(kind suite)
  if(arg_KERNELS)
    set(kind kernels)
  endif()
  set_property(GLOBAL APPEND PROPERTY KVFERRY_GPU_SUITES
    "${kind} $<TARGET_FILE:${name}> ${arg_FILTER}")
  foreach(program IN LISTS arg_PROGRAMS)
    set_property(GLOBAL APPEND PROPERTY KVFERRY_GPU_SUITES
      "program $<TARGET_FILE:${program}>")
  endforeach()
  set_property(GLOBAL APPEND PROPERTY KVFERRY_GPU_TARGETS
    ${name} ${arg_PROGRAMS})
endfunction()
