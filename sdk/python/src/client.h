#ifndef KVFERRY_SDK_PYTHON_SRC_CLIENT_H_
#define KVFERRY_SDK_PYTHON_SRC_CLIENT_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kvferry/kvferry.h"
#include "sdk/python/src/group_spec.h"

namespace kvferry::python {

// Closes the C client when the last of its holders goes: the Client, a call
// that is under way in another thread, a prefix, a publication, a stream.
// Closing takes memory away and may take long: without the GIL.
class ClientHandle {
 public:
  explicit ClientHandle(kvf_client* client) : client_(client) {}
  ~ClientHandle();
  ClientHandle(const ClientHandle&) = delete;
  ClientHandle& operator=(const ClientHandle&) = delete;

  kvf_client* get() const { return client_; }

 private:
  kvf_client* const client_;
};
using ClientRef = std::shared_ptr<ClientHandle>;

// kvferry.Client. Its fields change under the GIL alone.
class Client {
 public:
  Client(ClientRef handle, std::string name, std::vector<GroupSpec> groups)
      : handle_(std::move(handle)),
        name_(std::move(name)),
        groups_(std::move(groups)) {}

  // Held by a call for as long as it takes.
  // Errors  FailedPrecondition  closed
  ClientRef handle() const;
  // Null when closed.
  const ClientRef& handle_or_null() const { return handle_; }
  void Close() { handle_.reset(); }

  const std::string& name() const { return name_; }
  const std::vector<GroupSpec>& groups() const { return groups_; }
  // Errors  InvalidArgument  there is no such group
  const GroupSpec& group(uint32_t group) const;

 private:
  ClientRef handle_;
  const std::string name_;
  const std::vector<GroupSpec> groups_;
};

void BindClient(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_CLIENT_H_
