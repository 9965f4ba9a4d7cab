"""What the scheduler side knows of one request; the names of its blocks."""

from typing import TYPE_CHECKING, Any

from kvferry.vllm.metadata import KEY_BYTES

if TYPE_CHECKING:
    from vllm.v1.request import Request

    from kvferry import Client, Prefix
    from kvferry.vllm.spec import NamespaceLayout, Part

# The request has not been scheduled yet.
NOT_SCHEDULED = -1


def transfer_parameters(request: "Request") -> dict[str, Any]:
    """What came with the request: from outside, so it can be anything."""
    parameters = request.kv_transfer_params
    return parameters if isinstance(parameters, dict) else {}


class RequestState:
    """Of one request, from its arrival to its end.

    Threads  the scheduler's
    """

    __slots__ = (
        "ask_deadline",
        "hash_count",
        "keys",
        "last_hash",
        "layout",
        "loading",
        "match_hashes",
        "match_last_hash",
        "match_local",
        "match_tokens",
        "may_load",
        "may_save",
        "next_save_tokens",
        "prefix",
        "remote_decode",
        "remote_prefill",
        "request",
        "saved_blocks",
        "tickets",
    )

    def __init__(
        self, request: "Request", layout: "NamespaceLayout"
    ) -> None:
        self.request = request
        self.layout = layout
        # Packed, of each part.
        self.keys: list[bytes | bytearray] = [b"" for _ in layout.parts]
        self.hash_count = 0  # of request.block_hashes that `keys` covers
        self.last_hash = b""

        # The pins of a hit, what they were asked for and what they gave.
        self.prefix: Prefix | None = None
        self.match_local = 0
        self.match_hashes = 0
        self.match_last_hash = b""
        self.match_tokens = 0
        self.loading = False  # between the allocation and the workers' answer
        self.may_load = True  # a load that failed is not tried again
        self.ask_deadline: float | None = None

        # Blocks of each part that are saved or need not be.
        self.saved_blocks = [NOT_SCHEDULED] * len(layout.parts)
        self.next_save_tokens = 0
        self.may_save = True

        parameters = transfer_parameters(request)
        self.remote_decode = bool(parameters.get("do_remote_decode"))
        self.remote_prefill = bool(parameters.get("do_remote_prefill"))
        self.tickets: list[str] = []
        if self.remote_prefill:
            texts = parameters.get("kvferry_ticket")
            if isinstance(texts, str):
                texts = [texts]
            if isinstance(texts, list):
                texts = texts[: len(layout.parts)]
                self.tickets = [each for each in texts if type(each) is str]

    def matched_as_now(self, local_tokens: int) -> bool:
        """Whether the hit was asked for with what the request is now."""
        hashes = self.request.block_hashes
        return (
            self.prefix is not None
            and self.match_local == local_tokens
            and self.match_hashes == len(hashes)
            and self.match_last_hash == hashes[-1]
        )

    def name_blocks(self, client: "Client") -> None:
        """Brings `keys` up to request.block_hashes."""
        hashes = self.request.block_hashes
        count = len(hashes)
        known = self.hash_count
        if known > 0 and (
            count < known or hashes[known - 1] != self.last_hash
        ):
            # A streaming session has taken tokens back. Hashes are chained:
            # when the last one is the same, all before it are.
            self.keys = [b"" for _ in self.keys]
            self.saved_blocks = [
                min(blocks, 0) for blocks in self.saved_blocks
            ]
            self.next_save_tokens = 0
            known = 0
        if count == known:
            self.hash_count = known
            return
        # Parts with blocks of one size hash the same digests.
        named: dict[tuple[int, int], list[bytes]] = {}
        for part in self.layout.parts:
            keys = self.keys[part.index]
            per_block = part.hashes_per_block
            first = len(keys) // KEY_BYTES
            if (first + 1) * per_block > count:
                continue
            # A block of several hashes is named by its last one.
            span = (per_block, first)
            if span not in named:
                named[span] = (
                    hashes[(first + 1) * per_block - 1 :: per_block]
                    if per_block > 1 or first > 0
                    else hashes
                )
            more = client.keys_from_digests(
                named[span],
                len(hashes[0]),
                group=part.index,
                cryptographic=self.layout.cryptographic_hash,
            )
            if not keys:
                self.keys[part.index] = more  # a prompt's, in most cases all
            elif isinstance(keys, bytearray):
                keys += more
            else:
                self.keys[part.index] = bytearray(keys) + more
        self.hash_count = count
        self.last_hash = hashes[count - 1]

    def keys_of(self, part: "Part", first: int, end: int) -> bytes:
        keys = self.keys[part.index]
        if first == 0 and type(keys) is bytes and len(keys) == end * KEY_BYTES:
            return keys
        with memoryview(keys) as view:
            return bytes(view[first * KEY_BYTES : end * KEY_BYTES])
