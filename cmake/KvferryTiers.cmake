# kvferry_tier_NAME builds what a tier of `./dev test` runs and nothing else:
# three builds of everything would cost more time than all tests together.
# docs/testing.md has the labels of each tier, CMakePresets.json selects them.
set(kvferry_programs kvferryd kvferry-gpu kvferryctl kvferry-bench kvferry-replay
  llama_prefill llama_decode)

# kvferry_add_tier(NAME LABELS ... FOLDERS ... TARGETS ...)
#
# Builds the tests that kvferry_add_test gave one of the labels, every target of
# the folders (below tests/), and the targets; what is not there is left out.
function(kvferry_add_tier tier)
  cmake_parse_arguments(arg "" "" "LABELS;FOLDERS;TARGETS" ${ARGN})
  add_custom_target(kvferry_tier_${tier})
  set(targets ${arg_TARGETS})
  foreach(label IN LISTS arg_LABELS)
    list(APPEND targets kvferry_tests_${label})
  endforeach()
  get_property(folders DIRECTORY tests PROPERTY SUBDIRECTORIES)
  foreach(folder IN LISTS arg_FOLDERS)
    set(folder ${PROJECT_SOURCE_DIR}/tests/${folder})
    if(folder IN_LIST folders)
      get_property(in_folder DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
      list(APPEND targets ${in_folder})
    endif()
  endforeach()
  foreach(target IN LISTS targets)
    if(TARGET ${target})
      add_dependencies(kvferry_tier_${tier} ${target})
    endif()
  endforeach()
endfunction()

# Integration tests start the programs.
kvferry_add_tier(unit LABELS unit integration stress FOLDERS stress
  TARGETS ${kvferry_programs})
kvferry_add_tier(threads LABELS threads stress FOLDERS stress
  TARGETS kvferryd)
# The installation wants everything that it installs.
kvferry_add_tier(release LABELS stress install FOLDERS sim litmus stress
  TARGETS kvferry kvferry_c ${kvferry_programs})

# What `./dev bundle gpu` carries to a machine with a GPU, one file a line: a
# program, or a suite of tests with the pattern of those that run there.
get_property(kvferry_gpu_suites GLOBAL PROPERTY KVFERRY_GPU_SUITES)
get_property(kvferry_gpu_targets GLOBAL PROPERTY KVFERRY_GPU_TARGETS)
set(kvferry_gpu_programs kvferryd kvferry-gpu kvferryctl kvferry-bench)
foreach(target IN LISTS kvferry_gpu_programs)
  if(TARGET ${target})
    list(PREPEND kvferry_gpu_suites "program $<TARGET_FILE:${target}>")
  endif()
endforeach()
list(REMOVE_DUPLICATES kvferry_gpu_suites)
list(JOIN kvferry_gpu_suites "\n" kvferry_gpu_suites)
file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/gpu_suites
  CONTENT "${kvferry_gpu_suites}\n")
kvferry_add_tier(gpu TARGETS ${kvferry_gpu_programs} ${kvferry_gpu_targets})
