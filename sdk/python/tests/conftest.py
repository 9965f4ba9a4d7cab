"""Fixtures that every test of the package has."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# `support` is found from tests in folders below, too.
sys.path.insert(0, str(Path(__file__).parent))

from support.daemon import Daemon, scratch_directory  # noqa: E402

if TYPE_CHECKING:
    import kvferry


@pytest.fixture
def daemon_directory() -> Iterator[Path]:
    """A directory on tmpfs that goes after the test."""
    directory = scratch_directory()
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def daemon(daemon_directory: Path) -> Iterator[Daemon]:
    """A running daemon of the test's own."""
    with Daemon(daemon_directory) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> "Iterator[kvferry.Client]":
    """A client of the namespace `test`, which has one small group."""
    import kvferry
    from support.blocks import small_group

    with kvferry.Client(
        "test", groups=[small_group()], socket_path=daemon.socket_path
    ) as attached:
        yield attached
