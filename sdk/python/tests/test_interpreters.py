"""The wheel on other interpreters than the one that runs the tests.

$KVFERRY_PYTHONS names them (paths, with colons between); without it they are
looked for on the PATH. A build takes a minute, so only with $KVFERRY_SLOW.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import peer_smoke
from support.daemon import Daemon

_PACKAGE = Path(__file__).parent.parent
_MINORS = range(11, 16)
_TIMEOUT_S = 900


def _version(program: str) -> tuple[int, int] | None:
    """None when it does not run, or cannot make environments."""
    done = subprocess.run(
        [program, "-c", "import sys, venv, ensurepip;"
         "print(*sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return None
    major, minor = done.stdout.split()
    return int(major), int(minor)


def _candidates() -> list[str]:
    named = os.environ.get("KVFERRY_PYTHONS")
    if named:
        return [program for program in named.split(os.pathsep) if program]
    found = [shutil.which(f"python3.{minor}") for minor in _MINORS]
    return [program for program in found if program]


def _interpreters() -> Iterator[object]:
    """One of each version that is not ours."""
    seen = {sys.version_info[:2]}
    for program in _candidates():
        version = _version(program)
        if version is None or version in seen:
            continue
        seen.add(version)
        name = f"python{version[0]}.{version[1]}"
        marks = []
        if version < (3, 11):
            marks = [pytest.mark.skip(reason=f"{name}: 3.11 is the oldest")]
        yield pytest.param(program, id=name, marks=marks)


def _parameters() -> list[object]:
    if not os.environ.get("KVFERRY_SLOW"):
        reason = "a build takes a minute: set KVFERRY_SLOW"
    else:
        found = list(_interpreters())
        if found:
            return found
        reason = "no other interpreter: set KVFERRY_PYTHONS to their paths"
    return [pytest.param("", id="none", marks=pytest.mark.skip(reason=reason))]


def _run(arguments: list[str], directory: Path) -> str:
    """With none of this environment's Python."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
    }
    done = subprocess.run(
        arguments,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout[-4000:]}"
    return done.stdout


@pytest.mark.parametrize("interpreter", _parameters())
def test_the_wheel_is_built_and_works(
    daemon: Daemon, interpreter: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="kvferry-wheel-") as name:
        directory = Path(name)
        environment = directory / "venv"
        _run([interpreter, "-m", "venv", str(environment)], directory)
        python = str(environment / "bin" / "python")
        _run(
            [python, "-m", "pip", "wheel", "--quiet", "--no-deps",
             "--wheel-dir", str(directory), str(_PACKAGE)],
            directory,
        )  # fmt: skip
        (wheel,) = directory.glob("kvferry-*.whl")
        _run(
            [python, "-m", "pip", "install", "--quiet", "--no-deps",
             str(wheel)],
            directory,
        )  # fmt: skip

        said = _run(
            [python, "-W", "error", peer_smoke.__file__, daemon.socket_path],
            directory,
        )

        assert said.startswith("kvferry ")
        print(said)
