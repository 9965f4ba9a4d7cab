/* What an operator asks. */

#include "current_program.h"
#include "kvferry/kvferry_admin.h"
#include "program.h"

enum { COUNT = 3 };

static size_t find_namespace(const kvf_admin_list* list, const char* name) {
  size_t i;
  for (i = 0; i < kvf_admin_list_count(list); ++i) {
    kvf_namespace_status status = {.size = sizeof(status)};
    CHECK_OK(kvf_admin_list_namespace(list, i, &status));
    if (strcmp(status.name, name) == 0) return i;
  }
  CHECK(!"the namespace is in the list");
  return 0;
}

static void check_namespaces(kvf_admin* admin) {
  kvf_admin_list* list = NULL;
  kvf_namespace_status status = {.size = sizeof(status)};
  kvf_group_spec spec = {.size = sizeof(spec)};
  kvf_group_status group = {.size = sizeof(group)};
  kvf_session_info session = {.size = sizeof(session)};
  size_t index;
  CHECK_OK(kvf_admin_namespaces(admin, &list));
  CHECK(kvf_admin_list_count(list) >= 2);
  index = find_namespace(list, "admin");
  CHECK_OK(kvf_admin_list_namespace(list, index, &status));
  CHECK(strcmp(status.model, "a model") == 0 && status.group_count == 1);
  CHECK(status.sessions == 1 && status.published_blocks == COUNT);
  CHECK(strlen(status.fingerprint_hex) == 64);
  CHECK_OK(kvf_admin_list_group(list, index, 0, &spec, &group));
  CHECK(spec.block_tokens == BLOCK_TOKENS && spec.slice_count == SLICES);
  CHECK(strcmp(group.name, "full") == 0 && group.ready == COUNT);
  CHECK_OK(kvf_admin_list_group(list, index, 0, NULL, NULL));
  CHECK_FAILS(kvf_admin_list_group(list, index, 1, &spec, &group),
              KVF_OUT_OF_RANGE, "group 1, the namespace has 1");
  CHECK_FAILS(kvf_admin_list_namespace(list, 99, &status), KVF_OUT_OF_RANGE,
              "index 99");
  CHECK_FAILS(kvf_admin_list_session(list, 0, &session),
              KVF_FAILED_PRECONDITION, "a list of namespaces has no sessions");
  kvf_admin_list_destroy(list);
}

static void check_sessions(kvf_admin* admin) {
  kvf_admin_list* list = NULL;
  kvf_session_info info = {.size = sizeof(info)};
  CHECK_OK(kvf_admin_sessions(admin, &list));
  CHECK(kvf_admin_list_count(list) == 1);
  CHECK_OK(kvf_admin_list_session(list, 0, &info));
  CHECK(strcmp(info.namespace_name, "admin") == 0);
  CHECK(strcmp(info.client_name, "c program") == 0);
  CHECK(info.publish == 1 && info.pid != 0 && info.age_ns >= 0);
  kvf_admin_list_destroy(list);
}

static void check_blocks(kvf_admin* admin, const kvf_key* keys) {
  kvf_admin_list* list = NULL;
  kvf_block_info info = {.size = sizeof(info)};
  char hex[33];
  CHECK_OK(kvf_key_to_hex(&keys[1], hex));
  CHECK_OK(kvf_admin_blocks(admin, "admin", hex, 10, &list));
  CHECK(kvf_admin_list_count(list) == 1);
  CHECK_OK(kvf_admin_list_block(list, 0, &info));
  CHECK(strcmp(info.state, "ready") == 0 && info.bytes >= BLOCK_BYTES);
  CHECK(memcmp(&info.key, &keys[1], sizeof(info.key)) == 0);
  CHECK(memcmp(&info.parent, &keys[0], sizeof(info.parent)) == 0);
  kvf_admin_list_destroy(list);
  CHECK_OK(kvf_admin_blocks(admin, "admin", NULL, 10, &list));
  CHECK(kvf_admin_list_count(list) == COUNT);
  kvf_admin_list_destroy(list);
}

void run_admin(const char* socket_path) {
  const kvf_group_spec group = the_group();
  const kvf_namespace_spec spec = {.size = sizeof(spec),
                                   .name = "made-by-an-operator",
                                   .groups = &group,
                                   .group_count = 1};
  kvf_daemon_status status = {.size = sizeof(status)};
  kvf_admin* admin = NULL;
  kvf_client* client;
  kvf_key keys[COUNT];
  kvf_admin_list* list = NULL;
  uint64_t epoch = 0;
  uint32_t evicted = 99, pinned = 99, blocks = 99;

  CHECK_OK(kvf_admin_connect(socket_path, 5 * SECOND, &admin));
  CHECK_OK(kvf_admin_create_namespace(admin, &spec, 8 << 20));
  CHECK_CODE(kvf_admin_create_namespace(admin, &spec, 8 << 20),
             KVF_ALREADY_EXISTS);
  client = attach(socket_path, "admin", 0);
  make_keys(client, 7, COUNT, keys);
  publish_blocks(client, keys, COUNT, 0);
  CHECK_OK(kvf_admin_status(admin, &status));
  CHECK(strcmp(status.version, kvf_version()) == 0);
  CHECK(strcmp(status.socket, socket_path) == 0);
  CHECK(status.session_count == 1 && status.pid != 0 && status.epoch != 0);
  CHECK(status.pool_bytes > 0 && status.uptime_ns >= 0);

  check_namespaces(admin);
  check_sessions(admin);
  check_blocks(admin, keys);
  CHECK_CODE(kvf_admin_blocks(admin, "no such", NULL, 10, &list),
             KVF_NOT_FOUND);
  CHECK(list == NULL);
  CHECK_FAILS(kvf_admin_blocks(admin, NULL, NULL, 10, &list),
              KVF_INVALID_ARGUMENT, "namespace_name is null");

  CHECK_OK(kvf_admin_evict(admin, "admin", NULL, 1, &evicted, &pinned));
  CHECK(evicted == 1 && pinned == 0);
  CHECK_OK(kvf_admin_clear(admin, "admin", &epoch, &blocks));
  CHECK(epoch != 0 && blocks == COUNT - 1);
  CHECK_OK(kvf_admin_clear(admin, "admin", NULL, NULL));
  kvf_admin_close(admin);
  kvf_client_close(client);
}
