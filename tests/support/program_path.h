#ifndef KVFERRY_TESTS_SUPPORT_PROGRAM_PATH_H_
#define KVFERRY_TESTS_SUPPORT_PROGRAM_PATH_H_

#include <cstdlib>
#include <string>

namespace kvferry::test {

// Where a program of this build is that a test starts: where it was built, or,
// when tests and programs were carried elsewhere (`./dev bundle gpu`), in the
// folder that KVFERRY_TEST_PROGRAMS names, under its own name.
inline std::string ProgramPath(const std::string& built) {
  const char* const folder = std::getenv("KVFERRY_TEST_PROGRAMS");
  if (folder == nullptr) return built;
  return std::string(folder) + built.substr(built.rfind('/'));
}

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_PROGRAM_PATH_H_
