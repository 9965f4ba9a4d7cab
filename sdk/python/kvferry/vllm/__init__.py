"""vLLM's connector to KVFerry (README.md).

Load it with `"kv_connector_module_path": "kvferry.vllm"`. Nothing of vLLM is
imported before KVFerryConnector is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvferry.vllm.connector import KVFerryConnector

__all__ = ["KVFerryConnector"]


def __getattr__(name: str) -> Any:
    if name != "KVFerryConnector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("kvferry.vllm.connector").KVFerryConnector
