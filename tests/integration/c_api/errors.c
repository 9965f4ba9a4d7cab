/* What is wrong is refused by name, and changes nothing. */

#include "current_program.h"
#include "program.h"

static void check_attach_options(const char* socket_path) {
  kvf_group_spec group = the_group();
  kvf_namespace_spec spec = {.size = sizeof(spec),
                             .name = "errors",
                             .groups = &group,
                             .group_count = 1};
  const kvf_attach_options fine = {
      .size = sizeof(fine), .socket_path = socket_path, .spec = &spec};
  kvf_attach_options options = fine;
  kvf_client* client = NULL;

  options.size = 8;
  CHECK_FAILS(kvf_client_attach(&options, &client), KVF_INVALID_ARGUMENT,
              "kvf_attach_options.size is 8");
  options = fine;
  options.flags = UINT64_C(1) << 40;
  CHECK_FAILS(kvf_client_attach(&options, &client), KVF_UNIMPLEMENTED,
              "kvf_attach_options.flags is 0x10000000000");
  options = fine;
  options.spec = NULL;
  CHECK_FAILS(kvf_client_attach(&options, &client), KVF_INVALID_ARGUMENT,
              "kvf_namespace_spec is null");
  options = fine;
  spec.groups = NULL;
  CHECK_FAILS(kvf_client_attach(&options, &client), KVF_INVALID_ARGUMENT,
              "kvf_namespace_spec.groups is null");
  spec.groups = &group;
  spec.group_count = 17;
  CHECK_FAILS(kvf_client_attach(&options, &client), KVF_INVALID_ARGUMENT,
              "kvf_namespace_spec.group_count is 17");
  spec.group_count = 1;
  group.head_bytes = 0;
  CHECK_FAILS(kvf_client_attach(&options, &client), KVF_INVALID_ARGUMENT, "");
  group = the_group();
  options.socket_path = "/nowhere/at/all.sock";
  CHECK_CODE(kvf_client_attach(&options, &client), KVF_UNAVAILABLE);
  CHECK(client == NULL);

  /* Another geometry under a name that is taken. */
  client = attach(socket_path, "errors", 0);
  kvf_client_close(client);
  options = fine;
  group.layer_count = LAYERS + 1;
  CHECK_CODE(kvf_client_attach(&options, &client), KVF_FAILED_PRECONDITION);
  /* As the daemon has it. */
  options.flags = KVF_ATTACH_ACCEPT_EXISTING;
  spec.groups = NULL;
  spec.group_count = 0;
  options.timeout_ns = -1;
  options.spin_ns = -1;
  CHECK_OK(kvf_client_attach(&options, &client));
  CHECK_OK(kvf_client_group(client, 0, (group.size = sizeof(group), &group)));
  CHECK(group.layer_count == LAYERS);
  kvf_client_close(client);
  spec.name = "not there";
  CHECK_CODE(kvf_client_attach(&options, &client), KVF_NOT_FOUND);
}

static void check_match(kvf_client* client) {
  kvf_key key = {1, 2};
  kvf_group_keys groups[17];
  kvf_prefix* prefix = NULL;
  int i;
  for (i = 0; i < 17; ++i) {
    const kvf_group_keys group = {
        .size = sizeof(group), .keys = &key, .key_count = 1};
    groups[i] = group;
  }
  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_CODE(kvf_match(client, groups, 0, prefix), KVF_INVALID_ARGUMENT);
  CHECK_FAILS(kvf_match(client, groups, 17, prefix), KVF_INVALID_ARGUMENT,
              "group_count is 17, at most 16");
  CHECK_FAILS(kvf_match(client, groups, 2, prefix), KVF_INVALID_ARGUMENT,
              "named twice");
  CHECK_FAILS(kvf_match(client, NULL, 1, prefix), KVF_INVALID_ARGUMENT,
              "groups is null");
  CHECK_FAILS(kvf_match(client, groups, 1, NULL), KVF_INVALID_ARGUMENT,
              "prefix is null");
  groups[0].group = 1;
  CHECK_FAILS(kvf_match(client, groups, 1, prefix), KVF_INVALID_ARGUMENT,
              "group 1");
  groups[0].group = 0;
  groups[0].keys = NULL;
  CHECK_FAILS(kvf_match(client, groups, 1, prefix), KVF_INVALID_ARGUMENT,
              "kvf_group_keys.keys is null");
  groups[0].key_count = 0;
  CHECK_FAILS(kvf_match(client, groups, 1, prefix), KVF_INVALID_ARGUMENT,
              "0 keys, must be 1 to 16384");
  groups[0].size = 0;
  CHECK_FAILS(kvf_match(client, groups, 1, prefix), KVF_INVALID_ARGUMENT,
              "kvf_group_keys.size is 0");
  kvf_prefix_destroy(prefix);
}

static void check_options(kvf_client* client) {
  kvf_publication_options publish = {.size = sizeof(publish), .flags = 2};
  kvf_stream_options stream_options = {.size = sizeof(stream_options),
                                       .flags = 4};
  kvf_key key = {1, 2};
  kvf_publication* publication = NULL;
  kvf_stream* stream = NULL;
  const void* source = NULL;
  CHECK_FAILS(kvf_publication_open(client, &publish, &publication),
              KVF_UNIMPLEMENTED, "kvf_publication_options.flags is 0x2");
  publish.flags = 0;
  publish.residence = 3;
  CHECK_FAILS(kvf_publication_open(client, &publish, &publication),
              KVF_UNIMPLEMENTED, "kvf_publication_options.residence is 3");
  publish.residence = 0;
  publish.slice_first = SLICES;
  CHECK_FAILS(kvf_publication_open(client, &publish, &publication),
              KVF_INVALID_ARGUMENT, "slices [2, +0)");
  publish.slice_first = 0;
  publish.stall_timeout_ns = 1;
  CHECK_FAILS(kvf_publication_open(client, &publish, &publication),
              KVF_INVALID_ARGUMENT, "stall timeout 1ns");
  CHECK(publication == NULL);
  CHECK_OK(kvf_stream_create(&stream));
  CHECK_FAILS(kvf_match_stream(client, &key, 1, &stream_options, stream),
              KVF_UNIMPLEMENTED, "kvf_stream_options.flags is 0x4");
  kvf_stream_destroy(stream);
  CHECK_FAILS(kvf_publish(client, 0, NULL, &key, &source, 1, SECOND, NULL),
              KVF_INVALID_ARGUMENT, "sources[0] is null");
}

void run_errors(const char* socket_path) {
  kvf_client* client;
  CHECK(strcmp(kvf_status_name((kvf_status)99), "UNKNOWN") == 0);
  check_attach_options(socket_path);
  client = attach(socket_path, "errors", 0);
  check_match(client);
  check_options(client);
  kvf_client_close(client);
}
