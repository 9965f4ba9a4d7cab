"""The environment of a vLLM without accelerator and network: import first.

vLLM's own CpuPlatform serves, chosen by vLLM's own switch: an explicit CPU
target is authoritative with an accelerator's wheel too. Triton is not there,
so vLLM takes its first model runner; engines that ask for the second set
VLLM_USE_V2_MODEL_RUNNER for as long as their configuration is made.
"""

import atexit
import logging
import os
import shutil
import tempfile

SETTINGS = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Two ranks have no two memory nodes here to be bound to.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}

os.environ.update(SETTINGS)
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

# vLLM leaves the sockets of its processes behind. Those that it starts inherit
# the folder; the one that made it takes it away.
if "VLLM_RPC_BASE_PATH" not in os.environ:
    _SOCKETS = tempfile.mkdtemp(prefix="kvferry-vllm-")
    os.environ["VLLM_RPC_BASE_PATH"] = _SOCKETS
    _OWNER = os.getpid()

    def _remove_sockets() -> None:
        if os.getpid() == _OWNER:
            shutil.rmtree(_SOCKETS, ignore_errors=True)

    atexit.register(_remove_sockets)

# A step that fails says the whole configuration, in pages.
logging.getLogger("vllm.logging_utils.dump_input").disabled = True
