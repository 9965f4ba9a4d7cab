# What `cmake --install` puts where:
#
#   component sdk     include/kvferry, libkvferry, libkvferry-c, the CMake package
#                     of both, kvferry.pc, kvferry-c.pc
#   component daemon  bin/kvferryd (its unit: systemd/CMakeLists.txt),
#                     libexec/kvferry/kvferry-gpu, which it starts
#   component tools   bin/kvferryctl, bin/kvferry-bench, bin/kvferry-replay
#
# Nothing else is installed: the other headers and libraries are the inside.
include(CMakePackageConfigHelpers)

if(TARGET kvferry)
  set_target_properties(kvferry PROPERTIES
    VERSION ${PROJECT_VERSION}
    # Until 1.0 every minor version may break a program that was built against
    # another; docs/decisions/0002-sdk-promise.md.
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_compile_features(kvferry INTERFACE cxx_std_20)

  install(TARGETS kvferry EXPORT kvferryTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT sdk)
  install(DIRECTORY include/kvferry
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT sdk
    FILES_MATCHING PATTERN "*.h")

  set(kvferry_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kvferry)
  install(EXPORT kvferryTargets NAMESPACE kvferry::
    DESTINATION ${kvferry_cmake_dir} COMPONENT sdk)
  # The C library for itself: who asks for it alone needs no Abseil to build.
  # Its version is its own: sdk/c_api/CMakeLists.txt.
  install(TARGETS kvferry_c EXPORT kvferryCTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT sdk)
  install(EXPORT kvferryCTargets NAMESPACE kvferry::
    DESTINATION ${kvferry_cmake_dir} COMPONENT sdk)
  configure_package_config_file(
    cmake/kvferryConfig.cmake.in
    ${PROJECT_BINARY_DIR}/cmake/kvferryConfig.cmake
    INSTALL_DESTINATION ${kvferry_cmake_dir})
  write_basic_package_version_file(
    ${PROJECT_BINARY_DIR}/cmake/kvferryConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES
    ${PROJECT_BINARY_DIR}/cmake/kvferryConfig.cmake
    ${PROJECT_BINARY_DIR}/cmake/kvferryConfigVersion.cmake
    DESTINATION ${kvferry_cmake_dir} COMPONENT sdk)

  # The prefix is found from the .pc file's own place, so that a tree that was
  # installed elsewhere than configured (--prefix, DESTDIR) still works.
  file(RELATIVE_PATH kvferry_pc_up
    /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" kvferry_pc_up "${kvferry_pc_up}")
  set(kvferry_pc_prefix "\${pcfiledir}/${kvferry_pc_up}")
  foreach(package kvferry kvferry-c)
    configure_file(cmake/${package}.pc.in
      ${PROJECT_BINARY_DIR}/cmake/${package}.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/cmake/${package}.pc
      DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT sdk)
  endforeach()
endif()

# Programs find a libkvferry that was installed beside them, wherever that is.
file(RELATIVE_PATH kvferry_bin_to_lib
  /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
foreach(program_component
    kvferryd:daemon kvferryctl:tools kvferry-bench:tools kvferry-replay:tools)
  string(REPLACE ":" ";" program_component ${program_component})
  list(GET program_component 0 program)
  list(GET program_component 1 component)
  if(TARGET ${program})
    set_target_properties(${program} PROPERTIES
      INSTALL_RPATH "$ORIGIN/${kvferry_bin_to_lib}")
    install(TARGETS ${program}
      RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${component})
  endif()
endforeach()

# Not for people to start, so not in their path; kvferryd finds it there
# (daemon/worker/process.h).
install(TARGETS kvferry-gpu
  RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/kvferry COMPONENT daemon)
