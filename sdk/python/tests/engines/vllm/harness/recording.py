"""vLLM's own example connector, with its calls written down."""

from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.example_connector import (
    ExampleConnector,
)

CALLS: list[tuple[str, str]] = []  # (role, method)

_WATCHED = (
    "get_num_new_matched_tokens",
    "update_state_after_alloc",
    "build_connector_meta",
    "update_connector_output",
    "request_finished",
    "on_new_request",
    "register_kv_caches",
    "handle_preemptions",
    "bind_connector_metadata",
    "start_load_kv",
    "wait_for_layer_load",
    "save_kv_layer",
    "finish_forward",
    "wait_for_save",
    "get_transfer_results",
    "get_block_ids_with_load_errors",
    "clear_connector_metadata",
    "shutdown",
)


class RecordingConnector(ExampleConnector):
    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in _WATCHED:
            role = super().__getattribute__("_role").name
            CALLS.append((role, name))
        return value
