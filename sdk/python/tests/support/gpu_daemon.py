"""A daemon that serves the emulated device, and how to wait for its memory."""

import kvferry
from support.wait import wait_until

DEVICE = "emulated:0"
CONFIG = f"""
[gpu]
devices = ["{DEVICE}"]
pool_size = "16 MiB"
"""

TIMEOUT_S = 20.0


def open_gpu(client: kvferry.Client) -> kvferry.Gpu:
    """With the pool's memory imported, which comes a moment later."""
    gpu = kvferry.Gpu(client, DEVICE)

    try:
        wait_until(lambda: gpu.has_pool, "the pool's import", TIMEOUT_S)
    finally:
        gpu.check_pool()  # says why there is none
    return gpu
