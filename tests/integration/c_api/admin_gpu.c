/* What an operator asks of a device that the daemon serves. */

#include <time.h>

#include "current_program.h"
#include "kvferry/kvferry_admin.h"
#include "program.h"

/* The list in which the first device is serving and has `pools` pools that
 * have memory. */
static kvf_admin_list* wait_for_device(kvf_admin* admin, uint32_t pools) {
  const time_t start = time(NULL);
  for (;;) {
    kvf_admin_list* list = NULL;
    kvf_gpu_status status = {.size = sizeof(status)};
    kvf_gpu_pool_status pool = {.size = sizeof(pool)};
    CHECK_OK(kvf_admin_gpus(admin, &list));
    CHECK(kvf_admin_list_count(list) == 1);
    CHECK_OK(kvf_admin_list_gpu(list, 0, &status));
    if (strcmp(status.state, "serving") == 0 && status.pool_count == pools) {
      if (pools == 0) return list;
      CHECK_OK(kvf_admin_list_gpu_pool(list, 0, pools - 1, &pool));
      if (pool.incarnation % 2 == 1) return list;
    }
    kvf_admin_list_destroy(list);
    CHECK(time(NULL) - start < 10);
  }
}

static void check_device(const kvf_admin_list* list) {
  kvf_gpu_status status = {.size = sizeof(status)};
  kvf_gpu_capability capability = {.size = sizeof(capability)};
  kvf_namespace_status space = {.size = sizeof(space)};
  uint32_t i;
  CHECK_OK(kvf_admin_list_gpu(list, 0, &status));
  CHECK(status.device == 0 && status.emulated == 1);
  CHECK(strcmp(status.uuid, "emulated:0") == 0);
  CHECK(strcmp(status.configured_as, "emulated:0") == 0);
  CHECK(strcmp(status.reason, "") == 0 && status.worker_pid != 0);
  CHECK(status.pool_bytes > 0 && status.used_bytes == 0);
  CHECK(status.restarts == 0 && status.import_count == 0);
  CHECK(status.capability_count > 0);
  for (i = 0; i < status.capability_count; ++i) {
    CHECK_OK(kvf_admin_list_gpu_capability(list, 0, i, &capability));
    CHECK(strlen(capability.name) > 0);
    CHECK((capability.available == 1) == (strlen(capability.reason) == 0));
  }
  CHECK_FAILS(kvf_admin_list_gpu_capability(list, 0, i, &capability),
              KVF_OUT_OF_RANGE, "device 0 has");
  CHECK_FAILS(kvf_admin_list_gpu(list, 1, &status), KVF_OUT_OF_RANGE,
              "index 1");
  CHECK_FAILS(kvf_admin_list_namespace(list, 0, &space),
              KVF_FAILED_PRECONDITION, "a list of gpus has no namespaces");
}

static void check_pool(const kvf_admin_list* list) {
  kvf_gpu_status status = {.size = sizeof(status)};
  kvf_gpu_pool_status pool = {.size = sizeof(pool)};
  kvf_gpu_import import = {.size = sizeof(import)};
  CHECK_OK(kvf_admin_list_gpu(list, 0, &status));
  CHECK(status.used_bytes > 0 && status.used_bytes <= status.pool_bytes);
  CHECK_OK(kvf_admin_list_gpu_pool(list, 0, 0, &pool));
  CHECK(strcmp(pool.namespace_name, "admin-gpu") == 0);
  CHECK(strcmp(pool.group_name, "full") == 0 && pool.pool == 1);
  CHECK(strcmp(pool.exported_by, "none") != 0);
  CHECK(strcmp(pool.reason, "") == 0);
  CHECK(pool.blocks > 0 && pool.stride_bytes >= BLOCK_BYTES);
  CHECK(pool.low_blocks < pool.high_blocks);
  CHECK(pool.ready == 0 && pool.resting == 0 && pool.lost == 0);
  CHECK_CODE(kvf_admin_list_gpu_pool(list, 0, status.pool_count, &pool),
             KVF_OUT_OF_RANGE);
  CHECK_CODE(kvf_admin_list_gpu_import(list, 0, status.import_count, &import),
             KVF_OUT_OF_RANGE);
}

void run_admin_gpu(const char* socket_path) {
  kvf_admin* admin = NULL;
  kvf_admin_list* list;
  kvf_client* client;
  kvf_session_info session = {.size = sizeof(session)};
  CHECK_OK(kvf_admin_connect(socket_path, 5 * SECOND, &admin));
  list = wait_for_device(admin, 0);
  check_device(list);
  kvf_admin_list_destroy(list);

  client = attach(socket_path, "admin-gpu", 0);
  list = wait_for_device(admin, 1);
  check_pool(list);
  kvf_admin_list_destroy(list);
  CHECK_OK(kvf_admin_sessions(admin, &list));
  CHECK_OK(kvf_admin_list_session(list, 0, &session));
  CHECK(session.has_gpu == 0 && session.gpu == 0);
  kvf_admin_list_destroy(list);

  CHECK_FAILS(kvf_admin_gpus(admin, NULL), KVF_INVALID_ARGUMENT, "list is");
  kvf_client_close(client);
  kvf_admin_close(admin);
}
