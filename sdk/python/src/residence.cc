#include "sdk/python/src/residence.h"

#include <iterator>

#include "sdk/python/src/errors.h"

namespace kvferry::python {
namespace {

// By kvf_residence.
constexpr const char* kResidences[] = {"none", "host", "gpu"};

[[noreturn]] void RaiseName(const char* what, const std::string& name,
                            const char* second) {
  Raise(KVF_INVALID_ARGUMENT, std::string(what) + ": \"" + name +
                                  "\", must be \"host\" or \"" + second + "\"");
}

}  // namespace

const char* ResidenceName(uint32_t residence) {
  return residence < std::size(kResidences) ? kResidences[residence]
                                            : "unknown";
}

uint32_t ResidenceToWrite(const std::string& name) {
  if (name == "host") return KVF_RESIDENCE_HOST;
  if (name == "gpu") return KVF_RESIDENCE_GPU;
  RaiseName("residence", name, "gpu");
}

uint32_t ResidencesToFind(const std::string& name) {
  if (name == "host") return KVF_RESIDENCES_HOST;
  if (name == "any") return KVF_RESIDENCES_ANY;
  RaiseName("residences", name, "any");
}

}  // namespace kvferry::python
