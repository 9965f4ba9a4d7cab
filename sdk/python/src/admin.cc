#include "sdk/python/src/admin.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kvferry/kvferry_admin.h"
#include "sdk/python/src/admin_dicts.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/exclusive.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/group_spec.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/text.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

struct AdminDelete {
  void operator()(kvf_admin* admin) const { kvf_admin_close(admin); }
};
struct ListDelete {
  void operator()(kvf_admin_list* list) const {
    const GilRelease release;  // of a thousand strings
    kvf_admin_list_destroy(list);
  }
};
using AdminList = std::unique_ptr<kvf_admin_list, ListDelete>;

// kvferry.Admin
class Admin {
 public:
  explicit Admin(kvf_admin* admin) : admin_(admin) {}

  void Close() {
    if (exclusive_.forked()) return;  // the parent's connection
    const ExclusiveUse use(exclusive_, "admin");
    admin_.reset();
  }

  // Calls `call` with the C handle and without the GIL.
  template <typename Call>
  void Ask(const Call& call) {
    const ExclusiveUse use(exclusive_, "admin");
    if (admin_ == nullptr) Raise(KVF_FAILED_PRECONDITION, "admin: closed");
    kvf_status status;
    {
      const GilRelease release;
      status = call(admin_.get());
    }
    Check(status);
  }

  template <typename Call>
  AdminList AskForList(const Call& call) {
    kvf_admin_list* list = nullptr;
    Ask([&](kvf_admin* admin) { return call(admin, &list); });
    return AdminList(list);
  }

 private:
  Exclusive exclusive_;
  std::unique_ptr<kvf_admin, AdminDelete> admin_;
};

nb::bytes KeyBytes(const kvf_key& key) { return nb::bytes(&key, sizeof(key)); }

void Connect(Admin* self, const std::optional<std::string>& socket_path,
             std::optional<double> timeout) {
  const char* const path = CText(socket_path, "socket_path");
  const int64_t timeout_ns = TimeoutNs(timeout, "timeout");
  kvf_admin* admin = nullptr;
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_admin_connect(path, timeout_ns, &admin);
  }
  Check(status);
  new (self) Admin(admin);
}

nb::dict Status(Admin& admin) {
  kvf_daemon_status status = SizedStruct<kvf_daemon_status>();
  admin.Ask(
      [&](kvf_admin* handle) { return kvf_admin_status(handle, &status); });
  nb::dict result;
  result["version"] = AdminText(status.version);
  result["socket"] = AdminText(status.socket);
  result["directory"] = AdminText(status.directory);
  result["memory_note"] = AdminText(status.memory_note);
  result["read_only_note"] = AdminText(status.read_only_note);
  result["epoch"] = status.epoch;
  result["uptime"] = Seconds(status.uptime_ns);
  result["pool_bytes"] = status.pool_bytes;
  result["used_bytes"] = status.used_bytes;
  result["loop_iterations"] = status.loop_iterations;
  result["loop_max"] = Seconds(status.loop_max_ns);
  result["doorbells"] = status.doorbells;
  result["sessions_refused"] = status.sessions_refused;
  result["sessions_closed_for_cause"] = status.sessions_closed_for_cause;
  result["pid"] = status.pid;
  result["namespace_count"] = status.namespace_count;
  result["session_count"] = status.session_count;
  result["memory_locked"] = status.memory_locked != 0;
  result["huge_pages"] = status.huge_pages != 0;
  return result;
}

nb::dict GroupDict(const kvf_admin_list* list, size_t index, uint32_t group) {
  kvf_group_spec spec = SizedStruct<kvf_group_spec>();
  kvf_group_status status = SizedStruct<kvf_group_status>();
  Check(kvf_admin_list_group(list, index, group, &spec, &status));
  nb::dict result;
  result["name"] = AdminText(status.name);
  result["spec"] = GroupSpec::FromC(spec);
  result["stride_bytes"] = status.stride_bytes;
  result["blocks"] = status.blocks;
  result["present"] = status.present;
  result["free"] = status.free;
  result["granted"] = status.granted;
  result["publishing"] = status.publishing;
  result["ready"] = status.ready;
  result["quarantined"] = status.quarantined;
  result["in_io"] = status.in_io;
  result["resting"] = status.resting;
  return result;
}

nb::dict NamespaceDict(const kvf_admin_list* list, size_t index) {
  kvf_namespace_status status = SizedStruct<kvf_namespace_status>();
  Check(kvf_admin_list_namespace(list, index, &status));
  nb::list groups;
  for (uint32_t group = 0; group < status.group_count; ++group) {
    groups.append(GroupDict(list, index, group));
  }
  nb::dict result;
  result["name"] = AdminText(status.name);
  result["model"] = AdminText(status.model);
  result["revision"] = AdminText(status.revision);
  result["dtype"] = AdminText(status.dtype);
  result["fingerprint_hex"] = AdminText(status.fingerprint_hex);
  result["id"] = status.id;
  result["quota_bytes"] = status.quota_bytes;
  result["populated_bytes"] = status.populated_bytes;
  result["content_epoch"] = status.content_epoch;
  result["lookups"] = status.lookups;
  result["hit_blocks"] = status.hit_blocks;
  result["missed_lookups"] = status.missed_lookups;
  result["published_blocks"] = status.published_blocks;
  result["evicted_blocks"] = status.evicted_blocks;
  result["aborted_blocks"] = status.aborted_blocks;
  result["no_space"] = status.no_space;
  result["standby_blocks"] = status.standby_blocks;
  result["adopted_blocks"] = status.adopted_blocks;
  result["stalled_publications"] = status.stalled_publications;
  result["sessions"] = status.sessions;
  result["open_publications"] = status.open_publications;
  result["leases"] = status.leases;
  result["overhead_bytes_per_block"] = status.overhead_bytes_per_block;
  result["groups"] = groups;
  return result;
}

nb::dict SessionDict(const kvf_admin_list* list, size_t index) {
  kvf_session_info info = SizedStruct<kvf_session_info>();
  Check(kvf_admin_list_session(list, index, &info));
  nb::dict result;
  result["namespace_name"] = AdminText(info.namespace_name);
  result["client_name"] = AdminText(info.client_name);
  result["matches"] = info.matches;
  result["hit_blocks"] = info.hit_blocks;
  result["age"] = Seconds(info.age_ns);
  result["session"] = info.session;
  result["pid"] = info.pid;
  result["uid"] = info.uid;
  result["publish"] = info.publish != 0;
  result["granted"] = info.granted;
  result["publications"] = info.publications;
  result["pinned_blocks"] = info.pinned_blocks;
  result["has_gpu"] = info.has_gpu != 0;
  result["gpu"] = info.gpu;
  return result;
}

nb::dict BlockDict(const kvf_admin_list* list, size_t index) {
  kvf_block_info info = SizedStruct<kvf_block_info>();
  Check(kvf_admin_list_block(list, index, &info));
  nb::dict result;
  result["state"] = AdminText(info.state);
  result["key"] = KeyBytes(info.key);
  result["parent"] = KeyBytes(info.parent);
  result["bytes"] = info.bytes;
  result["last_use_ago"] = Seconds(info.last_use_ago_ns);
  result["group"] = info.group;
  result["block"] = info.block;
  result["generation"] = info.generation;
  result["children"] = info.children;
  result["pins"] = info.pins;
  result["gpu_state"] = AdminText(info.gpu_state);
  result["gpu_pool"] = info.gpu_pool;
  result["gpu_block"] = info.gpu_block;
  result["gpu_pins"] = info.gpu_pins;
  return result;
}

// A dict takes a microsecond or two.
constexpr size_t kDictsAtOnce = 16;

nb::list Dicts(const AdminList& list,
               nb::dict (*dict_of)(const kvf_admin_list*, size_t)) {
  nb::list result;
  const size_t count = kvf_admin_list_count(list.get());
  for (size_t i = 0; i < count; ++i) {
    result.append(dict_of(list.get(), i));
    if (i % kDictsAtOnce == kDictsAtOnce - 1) YieldGil();
  }
  return result;
}

nb::list Namespaces(Admin& admin) {
  return Dicts(admin.AskForList(kvf_admin_namespaces), &NamespaceDict);
}

nb::list Sessions(Admin& admin) {
  return Dicts(admin.AskForList(kvf_admin_sessions), &SessionDict);
}

nb::list Blocks(Admin& admin, const std::string& name,
                const std::string& prefix_hex, int64_t limit) {
  const char* const c_name = CText(name, "namespace");
  const char* const c_prefix = CText(prefix_hex, "prefix_hex");
  const uint32_t limit_count = Uint32(limit, "limit");
  return Dicts(admin.AskForList([&](kvf_admin* handle, kvf_admin_list** list) {
    return kvf_admin_blocks(handle, c_name, c_prefix, limit_count, list);
  }),
               &BlockDict);
}

nb::list Gpus(Admin& admin) {
  return Dicts(admin.AskForList(kvf_admin_gpus), &GpuDict);
}

void CreateNamespace(Admin& admin, const std::string& name,
                     const std::vector<GroupSpec>& groups,
                     const std::string& model, const std::string& revision,
                     const std::string& dtype, int64_t quota_bytes) {
  const std::vector<kvf_group_spec> specs = ToC(groups);
  kvf_namespace_spec spec = SizedStruct<kvf_namespace_spec>();
  spec.name = CText(name, "name");
  spec.model = CText(model, "model");
  spec.revision = CText(revision, "revision");
  spec.dtype = CText(dtype, "dtype");
  spec.groups = specs.data();
  spec.group_count = specs.size();
  const uint64_t quota = Uint64(quota_bytes, "quota_bytes");
  admin.Ask([&](kvf_admin* handle) {
    return kvf_admin_create_namespace(handle, &spec, quota);
  });
}

std::pair<uint32_t, uint32_t> Evict(Admin& admin, const std::string& name,
                                    const std::string& prefix_hex,
                                    int64_t limit) {
  const char* const c_name = CText(name, "namespace");
  const char* const c_prefix = CText(prefix_hex, "prefix_hex");
  const uint32_t limit_count = Uint32(limit, "limit");
  std::pair<uint32_t, uint32_t> result;
  admin.Ask([&](kvf_admin* handle) {
    return kvf_admin_evict(handle, c_name, c_prefix, limit_count, &result.first,
                           &result.second);
  });
  return result;
}

std::pair<uint64_t, uint32_t> Clear(Admin& admin, const std::string& name) {
  const char* const c_name = CText(name, "namespace");
  std::pair<uint64_t, uint32_t> result;
  admin.Ask([&](kvf_admin* handle) {
    return kvf_admin_clear(handle, c_name, &result.first, &result.second);
  });
  return result;
}

}  // namespace

void BindAdmin(nb::module_& module) {
  nb::class_<Admin> admin(
      module, "Admin",
      "What an operator asks the daemon. Answers are dicts with the fields of\n"
      "kvferry_admin.h's structs; durations are seconds, and without `_ns`.");
  admin
      .def("__init__", &Connect, nb::arg("socket_path") = nb::none(),
           nb::kw_only(), nb::arg("timeout").none() = 5.0)
      .def("close", &Admin::Close)
      .def("status", &Status)
      .def("namespaces", &Namespaces)
      .def("sessions", &Sessions)
      .def("blocks", &Blocks, nb::arg("namespace"), nb::arg("prefix_hex") = "",
           nb::arg("limit") = 1000)
      .def("gpus", &Gpus)
      .def("create_namespace", &CreateNamespace, nb::arg("name"), nb::kw_only(),
           nb::arg("groups"), nb::arg("model") = "", nb::arg("revision") = "",
           nb::arg("dtype") = "", nb::arg("quota_bytes"))
      .def("evict", &Evict, nb::arg("namespace"), nb::arg("prefix_hex") = "",
           nb::arg("limit") = 1000, "How many were evicted, and are pinned.")
      .def("clear", &Clear, nb::arg("namespace"),
           "The new content epoch, and how many blocks were dropped.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__exit__",
          [](Admin& self, nb::handle, nb::handle, nb::handle) { self.Close(); },
          nb::arg("kind").none(), nb::arg("error").none(),
          nb::arg("trace").none())
      .def("__repr__", [](const Admin&) { return "<kvferry.Admin>"; });
  RefusePickle(admin, "kvferry.Admin", "connect in the other process");
}

}  // namespace kvferry::python
