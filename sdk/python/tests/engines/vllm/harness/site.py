"""A daemon, engines on it, and what must hold when they are idle."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.engine import Engine, EngineSpec
from harness.references import References
from kvferry import Admin
from support.daemon import Daemon

NAMESPACE = "engines"


def until(
    condition: Callable[[], bool], what: str, deadline: float = 20.0
) -> None:
    """Polls; raises TimeoutError when `condition` stays false."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline} s")
        time.sleep(0.002)


class Site:
    """What one test works with; close() checks that pins went back."""

    def __init__(
        self,
        daemon: Daemon,
        directory: Path,
        references: References,
        device: str | None = None,
    ) -> None:
        self.daemon = daemon
        self.device = device  # of the connectors' Gpu; None: they have none
        self.directory = directory
        self.references = references
        self.engines: list[Engine] = []

    def connector(self, **keys: Any) -> dict[str, Any]:
        """Extra configuration of a connector to this site's daemon."""
        given = {
            "socket_path": self.daemon.socket_path,
            "namespace": NAMESPACE,
        }
        if self.device is not None:
            given["device"] = self.device
        return {
            f"kvferry.{name}": value for name, value in (given | keys).items()
        }

    def engine(self, load: str = "async", **spec: Any) -> Engine:
        """An engine with a connector; `connector` adds keys."""
        keys = dict(spec.pop("connector", {}))
        engine = Engine(
            EngineSpec(connector=self.connector(load=load, **keys), **spec),
            self.directory,
        )
        self.engines.append(engine)
        return engine

    def expect(
        self,
        engine: Engine,
        prompts: Mapping[str, Sequence[int]],
        max_tokens: int = 4,
        weights: int = 1,
        names: Iterable[str] | None = None,
    ) -> None:
        """What the engine gave is what one without a cache gives."""
        chosen = {n: prompts[n] for n in (names or prompts)}
        reference = self.references.tokens(
            chosen, max_tokens, engine.spec.shape, weights
        )
        assert engine.tokens(chosen) == reference

    def admin(self) -> Admin:
        return Admin(self.daemon.socket_path)

    def block_count(self) -> int:
        with self.admin() as admin:
            return sum(
                group["ready"]
                for namespace in admin.namespaces()
                if namespace["name"] == NAMESPACE
                for group in namespace["groups"]
            )

    def evict(self, limit: int = 100_000) -> tuple[int, int]:
        with self.admin() as admin:
            return admin.evict(NAMESPACE, limit=limit)

    def evict_all(self) -> None:
        """Whatever no one pins, until nothing is left."""
        until(
            lambda: self.evict()[1] == 0 and self.block_count() == 0,
            "evicting all blocks",
        )

    def held(self) -> list[str]:
        """Who holds pins or publishes; a publication may be open that no
        session has any more, until it has stalled long enough."""
        with self.admin() as admin:
            return [
                f"session {session['client_name']}: pinned_blocks "
                f"{session['pinned_blocks']}, publications "
                f"{session['publications']}"
                for session in admin.sessions()
                if session["pinned_blocks"] or session["publications"]
            ] + self.publishing()

    def publishing(self) -> list[str]:
        with self.admin() as admin:
            return [
                f"namespace {namespace['name']}: open_publications "
                f"{namespace['open_publications']}"
                for namespace in admin.namespaces()
                if namespace["open_publications"]
            ] + [
                # On their way from a GPU to the host, or back.
                f"namespace {namespace['name']}: in_io {group['in_io']}"
                for namespace in admin.namespaces()
                for group in namespace["groups"]
                if group["in_io"]
            ]

    def settle(self, engine: Engine) -> None:
        """Steps the engine until its saves are visible and nothing is held,
        as an engine's loop does."""
        self._settle(engine, self.held)

    def settle_saves(self, engine: Engine) -> None:
        """The same, when tickets may hold pins."""
        self._settle(engine, self.publishing)

    def _settle(self, engine: Engine, busy: Callable[[], list[str]]) -> None:
        def quiet() -> bool:
            if engine.busy():
                engine.step()
                return False
            return not busy()

        until(quiet, "the engine's work on the daemon")

    def close(self) -> None:
        try:
            if self.daemon.running:
                for engine in self.engines:
                    self.settle(engine)
                assert self.held() == []
            for engine in self.engines:
                assert_blocks_free(engine)
        finally:
            for engine in self.engines:
                engine.close()


def assert_blocks_free(engine: Engine) -> None:
    """No page is held by anyone when an engine is idle."""
    pool = engine.scheduler.kv_cache_manager.block_pool
    held = pool.num_gpu_blocks - 1 - pool.get_num_free_blocks()
    assert held == 0, f"{held} of the engine's pages are still held"
