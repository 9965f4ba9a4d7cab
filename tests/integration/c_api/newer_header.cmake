# kvferry_make_newer_header(FOLDER)
#
# Writes the C headers into FOLDER as a later version could have them: every
# struct with a `size` has two words more at its end.
function(kvferry_make_newer_header folder)
  foreach(name kvferry.h kvferry_gpu.h kvferry_admin.h)
    set(header ${PROJECT_SOURCE_DIR}/include/kvferry/${name})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
    file(READ ${header} text)
    # A semicolon would end an element of CMake's lists.
    string(REPLACE ";" "\\;" text "${text}")
    string(REGEX REPLACE "({\n  size_t size\\\\;[^}]*)}"
      "\\1  uint64_t later[2]\\\\;\n}" text "${text}")
    string(REPLACE "\\;" ";" text "${text}")
    file(CONFIGURE OUTPUT ${folder}/kvferry/${name} CONTENT "${text}" @ONLY)
  endforeach()
endfunction()
