"""What a scheduler does, which only matches: it holds the pins of a request
while the ranks read by key."""

from types import SimpleNamespace

import kvferry
import numpy as np

from support.rank_worker import group_spec


def attach(state: SimpleNamespace, socket_path: str, slice_count: int) -> None:
    state.client = kvferry.Client(
        "ranks",
        groups=[group_spec(slice_count)],
        model="ranks",
        dtype="int8",
        socket_path=socket_path,
        client_name="scheduler",
        publish=False,
    )
    state.prefix = None


def hash_tokens(state: SimpleNamespace, tokens: list[int]) -> bytes:
    return state.client.hasher().hash_blocks(np.array(tokens, dtype=np.uint32))


def pin(state: SimpleNamespace, keys: bytes) -> int:
    """How many blocks hit; they stay pinned until the next call."""
    state.prefix = state.client.match(keys, into=state.prefix)
    return state.prefix.block_count()


def release(state: SimpleNamespace) -> None:
    state.prefix.release()
