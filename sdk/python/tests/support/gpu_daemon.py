"""A daemon that serves the emulated device, and how to wait for its memory."""

import time
from collections.abc import Callable

import kvferry
from kvferry import errors

DEVICE = "emulated:0"
CONFIG = f"""
[gpu]
devices = ["{DEVICE}"]
pool_size = "16 MiB"
"""

_LOOK_EVERY_S = 0.002
_TIMEOUT_S = 20.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} after {_TIMEOUT_S} s"
        time.sleep(_LOOK_EVERY_S)


def open_gpu(client: kvferry.Client) -> kvferry.Gpu:
    """With the pool's memory imported, which comes a moment later."""
    gpu = kvferry.Gpu(client, DEVICE)

    def reason() -> str:
        try:
            gpu.check_pool()
        except errors.Error as error:
            return str(error)
        return ""

    wait_until(lambda: gpu.has_pool, f"no pool ({reason()})")
    gpu.check_pool()
    return gpu
