# Whether this build has CUDA in it, and how. Sets
#
#   KVFERRY_CUDA_ENABLED      gpu/cuda is built; .cu files compile
#   KVFERRY_CUDA_DESCRIPTION  what of, or why not: for the summary
#
# The toolkit is asked for before the language is enabled: a missing one is no
# error unless KVFERRY_CUDA is ON, and nothing else in the tree may depend on
# it.
set(KVFERRY_CUDA AUTO CACHE STRING
  "AUTO (if the toolkit is there), ON (it must be) or OFF")
set_property(CACHE KVFERRY_CUDA PROPERTY STRINGS AUTO ON OFF)
# A cubin runs on every GPU of its major version with the same or a higher minor
# one; the last entry's PTX is for those that come later.
set(KVFERRY_CUDA_ARCHITECTURES "75-real;80-real;90-real;100-real;120"
  CACHE STRING "GPUs to compile for, as CMAKE_CUDA_ARCHITECTURES")
set(kvferry_cuda_oldest 13.0)

# kvferry_find_cuda(REASON_VARIABLE)
#
# Leaves a compiler that works in CMAKE_CUDA_COMPILER and REASON_VARIABLE empty,
# or sets that to why there is none.
macro(kvferry_find_cuda reason)
  set(${reason} "")
  # The toolkit's own installer does not put it in PATH.
  find_program(KVFERRY_NVCC nvcc
    HINTS ${CMAKE_CUDA_COMPILER} ENV CUDACXX ENV CUDA_HOME ENV CUDA_PATH
    PATHS /usr/local/cuda /opt/cuda PATH_SUFFIXES bin
    DOC "The CUDA compiler")
  mark_as_advanced(KVFERRY_NVCC)
  if(NOT KVFERRY_NVCC)
    set(${reason} "no nvcc in PATH, $CUDA_HOME or /usr/local/cuda")
  else()
    execute_process(COMMAND ${KVFERRY_NVCC} --version
      OUTPUT_VARIABLE kvferry_nvcc_says ERROR_QUIET)
    if(NOT kvferry_nvcc_says MATCHES "release ([0-9]+\\.[0-9]+)")
      set(${reason} "${KVFERRY_NVCC} does not run")
    elseif(CMAKE_MATCH_1 VERSION_LESS kvferry_cuda_oldest)
      set(${reason}
        "${KVFERRY_NVCC} is ${CMAKE_MATCH_1}, need ${kvferry_cuda_oldest}")
    endif()
  endif()
  if("${${reason}}" STREQUAL "")
    # nvcc compiles the host's half with the compiler of everything else.
    if(NOT CMAKE_CUDA_COMPILER)
      set(ENV{CUDACXX} "${KVFERRY_NVCC}")
      set(ENV{CUDAHOSTCXX} "${CMAKE_CXX_COMPILER}")
      # A failure is asked about again at the next configuration.
      unset(CMAKE_CUDA_COMPILER CACHE)
    endif()
    include(CheckLanguage)
    check_language(CUDA)
    if(NOT CMAKE_CUDA_COMPILER)
      set(${reason} "${KVFERRY_NVCC} cannot use ${CMAKE_CXX_COMPILER} \
(CMakeFiles/CMakeError.log)")
    endif()
  endif()
endmacro()

set(KVFERRY_CUDA_ENABLED OFF)
if(NOT KVFERRY_CUDA)
  set(KVFERRY_CUDA_DESCRIPTION "off (KVFERRY_CUDA)")
elseif(KVFERRY_SANITIZE)
  if(NOT KVFERRY_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "KVFERRY_CUDA is ON, but a build with "
      "KVFERRY_SANITIZE has no CUDA: its driver does not run in one")
  endif()
  set(KVFERRY_CUDA_DESCRIPTION "off (KVFERRY_SANITIZE)")
else()
  kvferry_find_cuda(kvferry_cuda_reason)
  if(kvferry_cuda_reason STREQUAL "")
    # Set before the language is enabled, which would choose one of its own.
    set(CMAKE_CUDA_ARCHITECTURES "${KVFERRY_CUDA_ARCHITECTURES}")
    enable_language(CUDA)
    find_package(CUDAToolkit ${kvferry_cuda_oldest} QUIET)
    if(NOT TARGET CUDA::cudart_static)
      set(kvferry_cuda_reason "the toolkit has no libcudart_static.a")
    endif()
  endif()
  if(kvferry_cuda_reason STREQUAL "")
    set(KVFERRY_CUDA_ENABLED ON)
    string(REPLACE ";" " " kvferry_cuda_list "${KVFERRY_CUDA_ARCHITECTURES}")
    set(KVFERRY_CUDA_DESCRIPTION
      "${CUDAToolkit_VERSION}, for ${kvferry_cuda_list}")
  else()
    set(KVFERRY_CUDA_DESCRIPTION "off: ${kvferry_cuda_reason}")
    if(NOT KVFERRY_CUDA STREQUAL "AUTO")
      message(FATAL_ERROR "KVFERRY_CUDA is ON, but: ${kvferry_cuda_reason}")
    endif()
  endif()
endif()

# For scripts that ask a build what it has.
set(KVFERRY_CUDA_IS_BUILT ${KVFERRY_CUDA_ENABLED} CACHE INTERNAL "gpu/cuda is in")

if(KVFERRY_CUDA_ENABLED)
  # CMake 3.25 knows of no CUDA 20: what .cu files include is C++17.
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  # Linked where it is used (CUDA::cudart_static), not wherever there is a .cu.
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)
  if(CMAKE_CXX_COMPILER_LAUNCHER AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER "${CMAKE_CXX_COMPILER_LAUNCHER}")
  endif()
endif()
