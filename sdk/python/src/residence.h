#ifndef KVFERRY_SDK_PYTHON_SRC_RESIDENCE_H_
#define KVFERRY_SDK_PYTHON_SRC_RESIDENCE_H_

#include <cstdint>
#include <string>

#include "kvferry/kvferry.h"

// Where blocks lie, by name.
namespace kvferry::python {

// Of a kvf_residence.
const char* ResidenceName(uint32_t residence);

// "host" or "gpu", where a publication writes.
// Errors  InvalidArgument  another name
uint32_t ResidenceToWrite(const std::string& name);

// "host" or "any", what a match may find: a kvf_residence_use.
// Errors  InvalidArgument  another name
uint32_t ResidencesToFind(const std::string& name);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_RESIDENCE_H_
