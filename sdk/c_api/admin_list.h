#ifndef KVFERRY_SDK_C_API_ADMIN_LIST_H_
#define KVFERRY_SDK_C_API_ADMIN_LIST_H_

#include <cstddef>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/fork_guard.h"
#include "base/status.h"
#include "kvferry/admin.h"
#include "kvferry/kvferry_admin.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"

struct kvf_admin {
  std::unique_ptr<kvferry::AdminClient> client;
  kvferry::DaemonStatus status;  // the last one told, whose strings are out
  const kvferry::ForkGuard guard;

  const kvferry::ForkGuard& fork_guard() const { return guard; }
};

// A value of its own.
struct kvf_admin_list {
  std::variant<std::vector<kvferry::NamespaceStatus>,
               std::vector<kvferry::SessionInfo>,
               std::vector<kvferry::BlockInfo>, std::vector<kvferry::GpuStatus>>
      items;
};

namespace kvferry::c_api {

// By the variant's index.
inline constexpr const char* kListNames[] = {"namespaces", "sessions", "blocks",
                                             "gpus"};

// One item of a list of T.
// Errors  kInvalidArgument, kFailedPrecondition, kOutOfRange
template <typename T>
absl::StatusOr<const T*> Item(const kvf_admin_list* list, size_t index,
                              const char* wanted) {
  KVFERRY_RETURN_IF_ERROR(NotNull(list, "list"));
  const auto* const items = std::get_if<std::vector<T>>(&list->items);
  if (items == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a list of ", kListNames[list->items.index()], " has no ", wanted));
  }
  if (index >= items->size()) {
    return absl::OutOfRangeError(absl::StrCat("index ", index, ", the list of ",
                                              wanted, " has ", items->size()));
  }
  return &(*items)[index];
}

// Asks `call` of the daemon and keeps what it answers as a list.
template <typename Call>
kvf_status AnswerList(kvf_admin* admin, kvf_admin_list** list,
                      const Call& call) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(list, "list"));
    *list = nullptr;
    KVFERRY_RETURN_IF_ERROR(Usable(admin, "admin"));
    KVFERRY_ASSIGN_OR_RETURN(auto items, call(*admin->client));
    *list = new kvf_admin_list{std::move(items)};
    return absl::OkStatus();
  });
}

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_ADMIN_LIST_H_
