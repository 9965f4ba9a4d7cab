#include "sdk/python/src/client.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <utility>

#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/keys.h"
#include "sdk/python/src/match.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/publication.h"
#include "sdk/python/src/publish.h"
#include "sdk/python/src/residence.h"
#include "sdk/python/src/stream.h"
#include "sdk/python/src/text.h"
#include "sdk/python/src/ticket.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

struct NamespaceInfo {
  std::string name;
  std::string model;
  std::string revision;
  std::string dtype;
  nb::bytes salt;
  uint64_t epoch;
  uint64_t namespace_id;
  uint32_t session;
  uint32_t block_capacity;
  uint64_t quota_bytes;
};

kvf_namespace_info InfoOf(const ClientHandle& handle) {
  kvf_namespace_info info{};
  info.size = sizeof(info);
  Check(kvf_client_info(handle.get(), &info));
  return info;
}

std::vector<GroupSpec> GroupsOf(const ClientHandle& handle) {
  std::vector<GroupSpec> groups;
  const uint32_t count = InfoOf(handle).group_count;
  groups.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    kvf_group_spec spec{};
    spec.size = sizeof(spec);
    Check(kvf_client_group(handle.get(), i, &spec));
    groups.push_back(GroupSpec::FromC(spec));
  }
  return groups;
}

void Attach(Client* self, const std::string& name,
            const std::vector<GroupSpec>& groups, const std::string& model,
            const std::string& revision, const std::string& dtype,
            const std::optional<std::string>& socket_path, bool accept_existing,
            bool create, bool publish,
            const std::optional<std::string>& client_name,
            std::optional<double> timeout, double spin, bool wait_for_memory,
            bool reattach, const std::string& residences) {
  const std::vector<kvf_group_spec> specs = ToC(groups);
  kvf_namespace_spec spec{};
  spec.size = sizeof(spec);
  spec.name = CText(name, "name");
  spec.model = CText(model, "model");
  spec.revision = CText(revision, "revision");
  spec.dtype = CText(dtype, "dtype");
  spec.groups = specs.data();
  spec.group_count = specs.size();

  kvf_attach_options options{};
  options.size = sizeof(options);
  options.socket_path = CText(socket_path, "socket_path");
  options.spec = &spec;
  if (accept_existing) options.flags |= KVF_ATTACH_ACCEPT_EXISTING;
  if (!create) options.flags |= KVF_ATTACH_NO_CREATE;
  if (!publish) options.flags |= KVF_ATTACH_READ_ONLY;
  if (!wait_for_memory) options.flags |= KVF_ATTACH_NO_WAIT;
  if (!reattach) options.flags |= KVF_ATTACH_NO_REATTACH;
  options.client_name = CText(client_name, "client_name");
  // 0 would be the default.
  options.timeout_ns = TimeoutNs(timeout, "timeout");
  if (options.timeout_ns == 0) options.timeout_ns = 1;
  options.spin_ns = spin == 0 ? -1 : DurationNs(spin, "spin");

  options.residences = ResidencesToFind(residences);

  kvf_client* client = nullptr;
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_client_attach(&options, &client);
  }
  Check(status);
  const ClientRef handle = std::make_shared<ClientHandle>(client);
  new (self) Client(handle, name, GroupsOf(*handle));
}

bool Connected(const Client& client) {
  const ClientRef& handle = client.handle_or_null();
  return handle != nullptr && kvf_client_connected(handle->get()) != 0;
}

NamespaceInfo Info(const Client& client) {
  const ClientRef handle = client.handle();
  const kvf_namespace_info info = InfoOf(*handle);
  return {.name = info.name,
          .model = info.model,
          .revision = info.revision,
          .dtype = info.dtype,
          .salt = nb::bytes(info.salt, sizeof(info.salt)),
          .epoch = info.epoch,
          .namespace_id = info.namespace_id,
          .session = info.session,
          .block_capacity = info.block_capacity,
          .quota_bytes = info.quota_bytes};
}

uint64_t Clear(const Client& client, std::optional<double> timeout) {
  const ClientRef handle = client.handle();
  const int64_t timeout_ns = TimeoutNs(timeout, "timeout");
  uint64_t content_epoch = 0;
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_client_clear(handle->get(), timeout_ns, &content_epoch);
  }
  Check(status);
  return content_epoch;
}

std::string Repr(const Client& client) {
  if (client.handle_or_null() == nullptr) {
    return "<kvferry.Client '" + client.name() + "', closed>";
  }
  return "<kvferry.Client '" + client.name() + "', " +
         (Connected(client) ? "connected" : "not connected") + ">";
}

void BindNamespaceInfo(nb::module_& module) {
  nb::class_<NamespaceInfo>(module, "NamespaceInfo",
                            "What the daemon said at the last attach.")
      .def_ro("name", &NamespaceInfo::name)
      .def_ro("model", &NamespaceInfo::model)
      .def_ro("revision", &NamespaceInfo::revision)
      .def_ro("dtype", &NamespaceInfo::dtype)
      .def_ro("salt", &NamespaceInfo::salt)
      .def_ro("epoch", &NamespaceInfo::epoch)
      .def_ro("namespace_id", &NamespaceInfo::namespace_id)
      .def_ro("session", &NamespaceInfo::session)
      .def_ro("block_capacity", &NamespaceInfo::block_capacity)
      .def_ro("quota_bytes", &NamespaceInfo::quota_bytes)
      .def("__repr__", [](const NamespaceInfo& info) {
        return "<kvferry.NamespaceInfo '" + info.name + "', epoch " +
               std::to_string(info.epoch) + ", session " +
               std::to_string(info.session) + ">";
      });
}

}  // namespace

ClientHandle::~ClientHandle() {
  const GilRelease release(GilHeld());
  kvf_client_close(client_);
}

ClientRef Client::handle() const {
  if (handle_ == nullptr) {
    Raise(KVF_FAILED_PRECONDITION, "client '" + name_ + "': closed");
  }
  return handle_;
}

const GroupSpec& Client::group(uint32_t group) const {
  if (group >= groups_.size()) {
    Raise(KVF_INVALID_ARGUMENT, "group: " + std::to_string(group) +
                                    ", namespace '" + name_ + "' has " +
                                    std::to_string(groups_.size()));
  }
  return groups_[group];
}

void BindClient(nb::module_& module) {
  BindNamespaceInfo(module);
  nb::class_<Client> client(
      module, "Client",
      "A session with the node's daemon, in one namespace. Any number of\n"
      "threads use it. `with` closes it.");
  client
      .def("__init__", &Attach, nb::arg("name"), nb::kw_only(),
           nb::arg("groups") = nb::make_tuple(), nb::arg("model") = "",
           nb::arg("revision") = "", nb::arg("dtype") = "",
           nb::arg("socket_path") = nb::none(),
           nb::arg("accept_existing") = false, nb::arg("create") = true,
           nb::arg("publish") = true, nb::arg("client_name") = nb::none(),
           nb::arg("timeout").none() = 10.0, nb::arg("spin") = 20e-6,
           nb::arg("wait_for_memory") = true, nb::arg("reattach") = true,
           nb::arg("residences") = "host")
      .def("close", &Client::Close,
           "Ends the session; what was made from it stays usable.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__exit__",
          [](Client& self, nb::handle, nb::handle, nb::handle) {
            self.Close();
          },
          nb::arg("kind").none(), nb::arg("error").none(),
          nb::arg("trace").none())
      .def_prop_ro("connected", &Connected)
      .def_prop_ro("info", &Info)
      .def_prop_ro("groups", &Client::groups, nb::rv_policy::copy)
      .def("clear", &Clear, nb::arg("timeout").none() = 5.0,
           "Drops every block of the namespace, for all its sessions; the new\n"
           "content epoch.")
      .def("__repr__", &Repr);
  RefusePickle(client, "kvferry.Client", "attach in the other process");
  BindClientKeys(client);
  BindClientMatch(client);
  BindClientPublish(client);
  BindClientStream(client);
  BindClientTickets(client);
}

}  // namespace kvferry::python
