"""A daemon for one benchmark."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import kvferry
import options
from support.daemon import Daemon, scratch_directory
from support.peer_wait import eventually


@contextlib.contextmanager
def running_daemon(
    pool: str, extra_config: str = "", *, apart: bool = True
) -> Iterator[Daemon]:
    """Its directory goes with it. `apart`: on another processor than the thread
    that measures."""
    directory = Path(scratch_directory())
    both = options.processors() if apart else None
    try:
        with Daemon(directory, pool=pool, extra_config=extra_config) as daemon:
            if both is not None:
                options.keep_to(both[1], daemon.pid)
            yield daemon
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_memory(daemon: Daemon) -> None:
    """Until every block of its namespaces has its memory: else it evicts what
    has, for lack of the rest."""

    def all_there() -> bool:
        with kvferry.Admin(daemon.socket_path) as admin:
            return all(
                group["present"] == group["blocks"]
                for namespace in admin.namespaces()
                for group in namespace["groups"]
            )

    assert eventually(all_there, timeout=60.0)


@contextlib.contextmanager
def measuring_processor() -> Iterator[None]:
    """This thread keeps to one processor meanwhile."""
    both = options.processors()
    before = os.sched_getaffinity(0)
    if both is not None:
        os.sched_setaffinity(0, {both[0]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
