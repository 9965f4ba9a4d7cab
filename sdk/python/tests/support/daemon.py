"""A real kvferryd for tests."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

# How long the loops below rest between two looks.
_LOOK_EVERY_S = 0.002
_TIMEOUT_S = 20.0


def program() -> str:
    """The daemon's program: $KVFERRYD, or the one on the PATH."""
    found = os.environ.get("KVFERRYD") or shutil.which("kvferryd")
    if not found:
        raise RuntimeError("no kvferryd: set KVFERRYD to the program's path")
    return found


def scratch_directory() -> str:
    """A new directory on tmpfs, where a daemon's files belong."""
    return tempfile.mkdtemp(prefix="kvferry-test-", dir="/dev/shm")


class Daemon:
    """A kvferryd whose socket, files and log are in `directory`.

    1. start() returns once the socket accepts connections.
    2. stop() (orderly) or kill() (at once), then perhaps start() again, on the
       same directory and socket.
    3. `with` starts it, and kills what still runs at the end. The directory is
       the caller's.

    `extra_config` is a configuration file's text (TOML). The daemon dies with
    the thread that started it: start it from the main thread.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        pool: str = "256 MiB",
        extra_config: str = "",
    ) -> None:
        self.directory = Path(directory)
        self.socket_path = str(self.directory / "kvferryd.sock")
        self.log_path = self.directory / "log"
        self.exit_code: int | None = None
        self._pool = pool
        self._extra_config = extra_config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it and its predecessors wrote to standard error."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        if self.running:
            raise RuntimeError(f"kvferryd {self.pid} is running already")
        config = self.directory / "kvferryd.toml"
        config.write_text(self._extra_config, encoding="utf-8")
        # The smallest demands on the machine; flags win over the file.
        arguments = [
            program(),
            "--config", str(config),
            "--socket", self.socket_path,
            "--directory", str(self.directory / "node"),
            "--pool-size", self._pool,
            "--huge-pages", "off",
            "--lock-memory", "off",
        ]  # fmt: skip
        # A test that crashes leaves no daemon behind.
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            arguments = [setpriv, "--pdeathsig", "KILL", *arguments]
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.exit_code = None
        self._wait_for_socket()

    def stop(self) -> int:
        """SIGTERM, then waits; the exit code (below 0: minus the signal)."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, then waits; the exit code."""
        return self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops it when it runs, and starts it again."""
        self.stop()
        self.start()

    def wait_for_log(self, text: str, timeout: float = 10.0) -> bool:
        """Whether `text` came into the log before `timeout` passed."""
        deadline = time.monotonic() + timeout
        while text not in self.log:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return self.exit_code or 0
        process.send_signal(number)
        try:
            self.exit_code = process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            self.exit_code = process.wait()
        self._process = None
        return self.exit_code

    def _wait_for_socket(self) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while not self._accepts():
            if not self.running:
                self._end(signal.SIGKILL)
                raise RuntimeError(
                    f"kvferryd ended with {self.exit_code}: {self.log}"
                )
            if time.monotonic() >= deadline:
                self._end(signal.SIGKILL)
                raise TimeoutError(
                    f"kvferryd does not listen on {self.socket_path} after "
                    f"{_TIMEOUT_S} s: {self.log}"
                )
            time.sleep(_LOOK_EVERY_S)

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            try:
                probe.connect(self.socket_path)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True
