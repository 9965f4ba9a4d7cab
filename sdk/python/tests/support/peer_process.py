"""Other processes of a test, which do what they are told."""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import traceback
from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any, Self

# How long anything that a peer is told to do may take.
ANSWER_TIMEOUT_S = 60.0

_PR_SET_PDEATHSIG = 1


class PeerFailure(Exception):
    """What a peer's function raised. `code` is that of a kvferry.Error."""

    def __init__(self, name: str, code: str | None, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.code = code
        self.text = text


class Peer:
    """A process of its own, which inherits nothing (unless `method`, one of
    multiprocessing's, says so).

    ask(f, ...) has it call f(state, ...), with `state` an empty namespace that
    is the peer's from its first call to its last; f is a function of a module.
    tell() does not wait: answer() takes the answers in the order of the calls.
    It dies with the process that made it.
    """

    def __init__(self, name: str = "peer", method: str = "spawn") -> None:
        context = multiprocessing.get_context(method)
        self._pipe, end = context.Pipe()
        self._name = name
        # A fork server's children are not ours.
        parent = os.getpid() if method != "forkserver" else None
        self._process = context.Process(
            target=_serve, args=(end, parent), name=name, daemon=True
        )
        self._process.start()
        end.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def tell(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._pipe.send((function, arguments))

    def answer(self, timeout: float = ANSWER_TIMEOUT_S) -> Any:
        """Raises PeerFailure when the function raised."""
        if not self._pipe.poll(timeout):
            raise TimeoutError(f"{self._name} has not answered in {timeout} s")
        try:
            good, content = self._pipe.recv()
        except EOFError:
            self._process.join(ANSWER_TIMEOUT_S)
            raise RuntimeError(
                f"{self._name} died, exit code {self._process.exitcode}"
            ) from None
        if not good:
            raise PeerFailure(*content)
        return content

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.tell(function, *arguments)
        return self.answer()

    def kill(self) -> None:
        """SIGKILL, then waits until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.join(ANSWER_TIMEOUT_S)
        self._pipe.close()

    def close(self) -> None:
        """Has it end of itself, and waits for that."""
        if self._process.is_alive():
            try:
                self._pipe.send(None)
            except BrokenPipeError:
                pass
            self._process.join(ANSWER_TIMEOUT_S)
            if self._process.is_alive():
                self.kill()
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.is_alive() and error is not None:
            self.kill()
        else:
            self.close()


def _serve(
    pipe: multiprocessing.connection.Connection, parent: int | None
) -> None:
    # multiprocessing ends its children when the parent ends well; this is for
    # a parent that is killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
    state = SimpleNamespace()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        if task is None:
            return
        function, arguments = task
        try:
            answer = (True, function(state, *arguments))
        # All of it goes back to who asked.
        except Exception as error:  # noqa: BLE001
            answer = (
                False,
                (
                    type(error).__name__,
                    getattr(error, "code", None),
                    f"{error}\n{traceback.format_exc()}",
                ),
            )
        pipe.send(answer)
