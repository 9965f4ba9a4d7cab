"""The tier's session with the node's daemon, which may come and go.

An engine must start without kvferryd, go on without it, and use it again when
it is back. So a thread of the link's own attaches for the first time (later
attachments the client makes by itself) and clears the namespace when the
engine asks for that; the scheduler's thread only ever reads what is there.
"""

import logging
import threading
from collections.abc import Callable

from kvferry import Client, errors

logger = logging.getLogger("vllm.kvferry.tier")

_RETRY_FIRST_S = 0.05
_RETRY_LAST_S = 5.0
# What a wrong configuration looks like: a launch must fail, and not run for
# weeks without its cache.
_MISCONFIGURED = (
    errors.FailedPrecondition,
    errors.InvalidArgument,
    errors.PermissionDenied,
    errors.NotFound,
    errors.Unimplemented,
)


class Link:
    """Life cycle  1. Link: one attempt to attach, `first_timeout` long
                2. client() while there is one and nothing is to be cleared
                3. close()

    Raises     what kvferry.Client raises when the daemon refuses the namespace
               itself; a daemon that is away is no error
    Threads    any
    """

    def __init__(
        self, attach: Callable[[float], Client], first_timeout: float
    ) -> None:
        self._attach = attach
        self._client: Client | None = None
        self._changed = threading.Condition()
        # All below: guarded by _changed.
        self._clears_asked = 0
        self._clears_done = 0
        self._closed = False
        self._away_logged = False
        self._other_logged: set[tuple[str, str]] = set()
        try:
            self._client = attach(first_timeout)
        except _MISCONFIGURED:
            raise
        except errors.Error as error:
            self.failed("attach", error)
        self._thread = threading.Thread(
            target=self._serve, name="kvferry-tier-link", daemon=True
        )
        self._thread.start()

    def client(self) -> Client | None:
        """The session, or None while there is none or what it finds must not
        be used. Cost: no lock, no system call."""
        if self._clears_asked != self._clears_done:
            return None
        return self._client

    @property
    def connected(self) -> bool:
        client = self._client
        return client is not None and client.connected

    @property
    def clearing(self) -> bool:
        return self._clears_asked != self._clears_done

    def why_none(self) -> str:
        """Why client() has none, as a metric's label."""
        return "clearing" if self.clearing else "away"

    @property
    def clears(self) -> int:
        """How often the namespace was cleared for this engine."""
        return self._clears_done

    def ask_clear(self) -> None:
        """From here on nothing is found or stored until the namespace is
        empty, however long the daemon is away."""
        with self._changed:
            self._clears_asked += 1
            self._changed.notify_all()

    def failed(self, what: str, error: errors.Error) -> None:
        """Logs a failure, once for each time the daemon goes away and once for
        each other kind."""
        away = isinstance(error, (errors.Unavailable, errors.DeadlineExceeded))
        with self._changed:
            if away and self._away_logged:
                return
            if not away and (what, error.code) in self._other_logged:
                return
            if away:
                self._away_logged = True
            else:
                self._other_logged.add((what, error.code))
        if away:
            logger.warning(
                "kvferry tier: kvferryd does not answer (%s: %s); the engine "
                "goes on without it until it is back",
                what,
                error,
            )
        else:
            logger.warning("kvferry tier: %s failed: %s", what, error)

    def answered(self) -> None:
        """The daemon answered a call."""
        if not self._away_logged:
            return
        with self._changed:
            self._away_logged = False
        logger.info("kvferry tier: kvferryd answers again")

    def close(self) -> None:
        """Idempotent. Blocking: until an attempt that is under way ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _serve(self) -> None:
        retry = _RETRY_FIRST_S
        while self._wait_for_work():
            if self._try():
                retry = _RETRY_FIRST_S
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._closed, retry)
            retry = min(2 * retry, _RETRY_LAST_S)

    def _wait_for_work(self) -> bool:
        """False when the link was closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._client is None or self.clearing
            )
            return not self._closed

    def _try(self) -> bool:
        """One step of what is to be done; whether it could be done."""
        if self._client is None:
            try:
                self._client = self._attach(_RETRY_LAST_S)
            except errors.Error as error:
                self.failed("attach", error)
                return False
            self.answered()
            return True
        with self._changed:
            asked = self._clears_asked
        try:
            self._client.clear(timeout=_RETRY_LAST_S)
        except errors.Error as error:
            self.failed("clear", error)
            return False
        self.answered()
        with self._changed:
            # One that was asked for meanwhile needs another call: blocks may
            # have come since this one.
            self._clears_done = asked
        return True
