"""Tickets: what a prefill engine gives a decode engine to keep blocks pinned.

A decode engine finds blocks by the names that its own request's tokens have,
never by those in a ticket: whoever can send requests could otherwise have one
prompt's blocks cached under another's name. The ticket only keeps the daemon
from evicting them on the way.
"""

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from kvferry import errors
from kvferry.vllm.link import logger
from kvferry.vllm.metadata import KEY_BYTES, KEYS_MAX
from kvferry.vllm.requests import transfer_parameters

if TYPE_CHECKING:
    from kvferry import Client, TicketContent
    from kvferry.vllm.config import ConnectorConfig
    from kvferry.vllm.link import DaemonLink, Faults
    from kvferry.vllm.requests import RequestState
    from kvferry.vllm.spec import NamespaceLayout

_CONSUMERS_MAX = 1_024
# Tickets on their way to the thread; beyond them they expire by themselves.
_QUEUE_MAX = 4_096
# What takes longer is no reason for an engine not to be idle.
_SOON_SECONDS = 1.0


class TicketDesk:
    """Mints tickets; redeems and releases them on a thread of its own, since
    the daemon has to be asked.

    Threads  the scheduler's
    """

    def __init__(
        self,
        layout: "NamespaceLayout",
        config: "ConnectorConfig",
        faults: "Faults",
        link: "DaemonLink",
    ) -> None:
        self._layout = layout
        self._config = config
        self._faults = faults
        self._link = link
        # (True: look at it, False: release it; the text; whose it is).
        self._queue: queue.Queue[
            tuple[bool, str, "RequestState | None"] | None
        ] = queue.Queue(_QUEUE_MAX)
        self._thread: threading.Thread | None = None
        self._posted = 0.0

    @property
    def pending(self) -> bool:
        """Whether tickets are about to be given back."""
        return (
            self._queue.unfinished_tasks > 0
            and time.monotonic() - self._posted < _SOON_SECONDS
        )

    def mint(self, state: "RequestState", client: "Client") -> dict[str, Any]:
        """The kv_transfer_params of a prefill that has ended: tickets for the
        largest boundary at which everything is visible."""
        answer: dict[str, Any] = {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "kvferry_tokens": 0,
        }
        try:
            groups = self._whole_prompt(state, client)
            if not groups:
                return answer
            with client.match_groups(groups) as hit:
                texts = [
                    self._mint_one(client, state, hit, part, keys)
                    for part, keys in groups
                ]
                if hit.tokens > 0:
                    answer["kvferry_ticket"] = [
                        text for text in texts if text
                    ]
                    answer["kvferry_tokens"] = hit.tokens
        except errors.Error as error:
            self._faults.report("minting a ticket", error)
        return answer

    def examine(self, state: "RequestState") -> None:
        """Says in the log when a ticket is no good."""
        for text in state.tickets:
            self._post((True, text, state))

    def release(self, state: "RequestState") -> None:
        """This engine is done with what the request's tickets keep."""
        for text in state.tickets:
            self._post((False, text, None))
        state.tickets = []

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _whole_prompt(
        self, state: "RequestState", client: "Client"
    ) -> list[tuple[int, bytes]]:
        state.name_blocks(client)
        unit = self._layout.scheduler_block_tokens
        tokens = min(
            state.hash_count * self._layout.hash_block_tokens,
            KEYS_MAX * min(part.block_tokens for part in self._layout.parts),
        )
        tokens -= tokens % unit
        if tokens == 0:
            return []
        return [
            (part.index, state.keys_of(part, 0, tokens // part.block_tokens))
            for part in self._layout.parts
        ]

    def _mint_one(
        self,
        client: "Client",
        state: "RequestState",
        hit: Any,
        part: int,
        keys: bytes,
    ) -> str:
        if hit.tokens == 0 or hit.block_count(part) == 0:
            return ""
        first = hit.first_block(part) * KEY_BYTES
        end = first + hit.block_count(part) * KEY_BYTES
        consumers = transfer_parameters(state.request).get(
            "kvferry_consumers", 1
        )
        if type(consumers) is not int or not 1 <= consumers <= _CONSUMERS_MAX:
            consumers = 1
        return client.mint_ticket(
            keys[first:end],
            group=part,
            consumers=consumers,
            ttl=self._config.seconds("ticket_ttl_ms"),
        )

    def _post(self, task: "tuple[bool, str, RequestState | None]") -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="kvferry-tickets", daemon=True
            )
            self._thread.start()
        self._posted = time.monotonic()
        try:
            self._queue.put_nowait(task)
        except queue.Full:
            logger.debug("KVFerry: a ticket is left to expire")

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            self._do(*task)
            self._queue.task_done()

    def _do(self, look: bool, text: str, state: "RequestState | None") -> None:
        client = self._link.up
        if client is None:
            return
        try:
            if not look:
                client.release_ticket(text)
            elif state is not None and text in state.tickets:
                self._compare(client.redeem_ticket(text), state)
        except Exception as error:
            # The thread is there for the next one.
            self._faults.report("a ticket", error)

    def _compare(
        self, content: "TicketContent", state: "RequestState"
    ) -> None:
        """The two engines should name the same prompt's blocks alike."""
        if not content.keys or content.group >= len(state.keys):
            return
        own = bytes(state.keys[content.group])
        last = content.keys[-KEY_BYTES:]
        if own and not any(
            own[at : at + KEY_BYTES] == last
            for at in range(0, len(own), KEY_BYTES)
        ):
            logger.warning_once(
                "KVFerry: a ticket names blocks that its request's tokens do "
                "not have here; do both engines hash alike (hash algorithm, "
                "PYTHONHASHSEED, block size), and is it the same prompt?"
            )
