"""Emptying the namespace after the weights changed."""

import threading
import time
from typing import TYPE_CHECKING

from kvferry import errors
from kvferry.vllm.link import DaemonLink, Faults, logger

if TYPE_CHECKING:
    from kvferry.vllm.config import ConnectorConfig
    from kvferry.vllm.saves import SavePlanner
    from kvferry.vllm.spec import NamespaceLayout

_RETRY_SECONDS = 1.0


class Clearing:
    """Says when the namespace may be used again.

    What is being saved of the old weights while it is cleared may become
    visible afterwards. So it stays unused until those saves are over, and is
    cleared once more; and until a clearing has succeeded, when the daemon is
    away.
    Threads  the scheduler's, and one that clears again
    """

    def __init__(
        self,
        layout: "NamespaceLayout",
        config: "ConnectorConfig",
        link: DaemonLink,
        faults: Faults,
        saves: "SavePlanner",
    ) -> None:
        self._layout = layout
        self._config = config
        self._link = link
        self._faults = faults
        self._saves = saves
        self._after_job = 0
        self._next_try = 0.0
        self._thread: threading.Thread | None = None
        self._thread_cleared = False
        # False: blocks of old weights may be there.
        self.usable = True

    def start(self) -> None:
        """From here on nothing of the old weights is found by this engine."""
        self._join()
        self.usable = False
        self._saves.give_up()
        self._after_job = self._saves.last_job
        cleared = self._clear()
        if not cleared:
            logger.warning(
                "KVFerry: the namespace %s could not be cleared; this engine "
                "does not use it until that succeeds",
                self._layout.name,
            )
        self.usable = cleared and self._quiet
        self._next_try = 0.0 if cleared else self._later()

    def poll(self) -> None:
        """Once a step."""
        if self.usable or not self._quiet:
            return
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._join()
            if self._thread_cleared:
                self.usable = True
                return
            self._next_try = self._later()
        if time.monotonic() < self._next_try:
            return
        self._thread = threading.Thread(
            target=self._clear_again, name="kvferry-clear", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._join()

    @property
    def _quiet(self) -> bool:
        """Whether all saves that were planned before are over."""
        return self._saves.done_job >= self._after_job

    def _later(self) -> float:
        return time.monotonic() + _RETRY_SECONDS

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _clear_again(self) -> None:
        self._thread_cleared = self._clear()

    def _clear(self) -> bool:
        try:
            with self._link.open_client(publish=True) as client:
                client.clear(self._config.seconds("commit_timeout_ms"))
        except errors.Error as error:
            self._faults.report("clear", error)
            return False
        return True
