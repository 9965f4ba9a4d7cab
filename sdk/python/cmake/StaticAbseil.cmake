# Has find_package(absl) mean Debian's archives, so that a wheel needs no
# libabsl_*.so: a machine that runs an engine has none, or another version.
find_package(absl REQUIRED)
get_directory_property(absl_targets IMPORTED_TARGETS)
list(FILTER absl_targets INCLUDE REGEX "^absl::")
foreach(target IN LISTS absl_targets)
  get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
  if(NOT configurations)
    continue()  # headers alone
  endif()
  foreach(configuration IN LISTS configurations)
    get_target_property(library ${target} IMPORTED_LOCATION_${configuration})
    string(REGEX REPLACE "\\.so(\\.[0-9.]+)?$" ".a" archive "${library}")
    if(EXISTS "${archive}")
      set_target_properties(${target} PROPERTIES
        IMPORTED_LOCATION_${configuration} ${archive}
        IMPORTED_SONAME_${configuration} "")
    endif()
  endforeach()
endforeach()
