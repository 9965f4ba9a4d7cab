"""A secondary tier of vLLM's offloading, backed by the node's kvferryd.

vLLM's OffloadingConnector keeps evicted KV in a host region of each engine's
own (the primary tier). This tier copies what is stored there into KVFerry, and
back when a prompt asks for it, so that it outlives the engine and every engine
of the node finds it. SECONDARY_TIER.md says how to launch it and what it costs.

vLLM calls the tier from its scheduler, under one lock. Nothing here waits:
lookups read the index in shared memory, transfers run on a few threads.
"""

import logging
import time
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any, ClassVar

from kvferry import Client, Prefix, errors
from kvferry.vllm.secondary_tier_link import Link
from kvferry.vllm.secondary_tier_metrics import (
    CLEARS,
    CONNECTED,
    LOOKUPS,
    PINS,
    WAITING_BLOCKS,
    Counters,
    metric_definitions,
)
from kvferry.vllm.secondary_tier_mover import Mover
from kvferry.vllm.secondary_tier_space import tier_space
from typing_extensions import override
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import (
    OffloadingConnectorStats,
)
from vllm.v1.kv_offload.base import (
    ConfigInfoMapping,
    Locality,
    LookupResult,
    Medium,
    OffloadingMetricMetadata,
    OffloadingSpec,
    OffloadKey,
    ReqContext,
    RequestOffloadingContext,
    ScheduleEndContext,
    get_offload_group_idx,
)
from vllm.v1.kv_offload.tiering.backpressure import BackpressureDetector
from vllm.v1.kv_offload.tiering.base import (
    JobResult,
    SecondaryTierManager,
    TransferJob,
)

# A child of the engine's logger, so that its settings apply.
logger = logging.getLogger("vllm.kvferry.tier")

# How long the first attach may hold up the engine's start.
_FIRST_ATTACH_S = 2.0
# A digest of 16 bytes (xxHash) or more, and the group's four.
_KEY_BYTES_MIN = 16 + 4
_KEY_BYTES_MAX = 64 + 4

# Keys of one match (kKeysPerCallMax).
_TOUCHED_MAX = 16384


class _Request:
    """What is kept of a request: blocks that could not be loaded for it, and
    until when it waits for another engine's."""

    def __init__(self) -> None:
        self.failed: set[OffloadKey] = set()
        self.wait_until: float | None = None


class KVFerryTier(SecondaryTierManager):
    """Options (of the tier's entry in secondary_tiers), with their defaults:

    socket_path     kvferryd's socket; the SDK's default path
    namespace       prefix of the namespace's name
    revision        what else changes the KV: the checkpoint's revision, its
                    quantisation; engines share blocks only if it is equal
    threads         threads that copy
    job_timeout_s   until a transfer has ended, one way or another
    store_queue_blocks  blocks that may wait to be stored; a quarter of the
                    primary tier, which cannot reuse them meanwhile
    pins_max        blocks that may be found and not yet asked for
    in_flight_wait_s  how long a request waits for blocks that another engine
                    is storing; 0: it computes them
    clear_on_reset  a reset of the engine's caches (new weights) clears the
                    namespace, for every engine that shares it

    Pins   a lookup that hits pins the block. The pin goes to the load that
           vLLM submits for it at the end of the same step, and is released
           after the copy; what no load took is released when the step ends.
    """

    medium: ClassVar[Medium] = Medium.CPU

    def __init__(
        self,
        offloading_spec: OffloadingSpec,
        primary_kv_view: memoryview,
        tier_type: str,
        backpressure_detector: BackpressureDetector | None = None,
        *,
        socket_path: str | None = None,
        namespace: str = "vllm-tier",
        revision: str = "",
        threads: int = 2,
        job_timeout_s: float = 10.0,
        store_queue_blocks: int | None = None,
        pins_max: int = 16384,
        in_flight_wait_s: float = 0.2,
        clear_on_reset: bool = True,
    ) -> None:
        super().__init__(
            offloading_spec, primary_kv_view, tier_type, backpressure_detector
        )
        rows, row_bytes = primary_kv_view.shape or (0, 0)
        if store_queue_blocks is None:
            store_queue_blocks = max(1, rows // 4)
        _check("threads", threads, 1, 64)
        _check("job_timeout_s", job_timeout_s, 0.1, 600.0)
        _check("store_queue_blocks", store_queue_blocks, 1, 1 << 30)
        _check("pins_max", pins_max, 1, 1 << 30)
        _check("in_flight_wait_s", in_flight_wait_s, 0.0, 60.0)
        self.locality = Locality.LOCAL
        self._space = tier_space(
            offloading_spec, row_bytes, prefix=namespace, revision=revision
        )
        self._socket_path = socket_path
        self._group_ids = {
            group.group_id for group in offloading_spec.config.groups
        }
        self._pins_max = pins_max
        self._in_flight_wait_s = in_flight_wait_s
        self._clear_on_reset = clear_on_reset
        self._counters = Counters()
        # Found in this step and not yet asked for.
        self._pins: dict[OffloadKey, Prefix] = {}
        self._requests: dict[str, _Request] = {}
        # For touch(): a prefix that is filled again and again.
        self._touched: Prefix | None = None
        self._clears_counted = 0
        self._link = Link(self._attach, _FIRST_ATTACH_S)
        self._mover = Mover(
            self._link,
            primary_kv_view,
            self._space.group,
            self._name_of,
            self._counters,
            threads=threads,
            job_timeout_s=job_timeout_s,
            store_queue_blocks=store_queue_blocks,
        )
        logger.info(
            "kvferry tier: namespace %s, %d bytes a block, %s",
            self._space.name,
            row_bytes,
            "attached" if self._link.connected else "kvferryd is away",
        )

    # --- lookups -----------------------------------------------------------

    @override
    def lookup(
        self, key: OffloadKey, req_context: ReqContext
    ) -> LookupResult:
        result, answer = self._look_up(key, req_context.req_id)
        self._counters.add(LOOKUPS, answer)
        return result

    def _look_up(
        self, key: OffloadKey, req_id: str
    ) -> tuple[LookupResult, str]:
        if key in self._pins:
            return LookupResult.HIT, "hit"
        request = self._requests.get(req_id)
        if request is not None and key in request.failed:
            # It would be found again, and fail again, for ever.
            return LookupResult.MISS, "failed_before"
        client = self._link.client()
        if client is None:
            return LookupResult.MISS, self._link.why_none()
        if len(self._pins) >= self._pins_max:
            return LookupResult.MISS, "pins_full"
        try:
            name = self._name_of(client, key)
            if name is None:
                return LookupResult.MISS, "bad_key"
            prefix = client.match(name)
            if prefix:
                self._pins[key] = prefix
                return LookupResult.HIT, "hit"
            if self._in_flight_wait_s > 0.0 and self._is_coming(
                client, name, req_id
            ):
                return LookupResult.RETRY, "in_flight"
        except errors.Error as error:
            self._link.failed("lookup", error)
            return LookupResult.MISS, "error"
        return LookupResult.MISS, "miss"

    def _is_coming(self, client: Client, name: bytes, req_id: str) -> bool:
        """Whether the block is being stored, and the request may still wait
        for it. A request waits once, however many of its blocks are coming:
        its deadline counts from the first."""
        if client.lookup(name).answer != "ask_again":
            return False
        request = self._requests.get(req_id)
        if request is None:
            return False  # vLLM never announced it, so nothing bounds the wait
        now = time.monotonic()
        if request.wait_until is None:
            request.wait_until = now + self._in_flight_wait_s
        return now < request.wait_until

    @override
    def touch(
        self, keys: Collection[OffloadKey], req_context: ReqContext
    ) -> None:
        client = self._link.client()
        if client is None:
            return
        try:
            names = (self._name_of(client, key) for key in keys)
            good = islice((name for name in names if name), _TOUCHED_MAX)
            packed = b"".join(good)
            if not packed:
                return
            self._touched = client.match(packed, into=self._touched)
            self._touched.release()
        except errors.Error as error:
            self._link.failed("touch", error)

    # --- transfers ---------------------------------------------------------

    @override
    def submit_store(self, job_metadata: TransferJob) -> None:
        self._mover.store(job_metadata)

    @override
    def submit_load(self, job_metadata: TransferJob) -> None:
        pins = [self._pins.pop(key, None) for key in job_metadata.keys]
        # A peer's request may be over by now; what fails is then nobody's.
        request = self._requests.get(job_metadata.req_context.req_id)
        failed = request.failed if request is not None else set()
        self._mover.load(job_metadata, pins, failed)

    @override
    def get_finished_jobs(self) -> Iterable[JobResult]:
        return self._mover.take_results()

    # --- the engine's life -------------------------------------------------

    @override
    def on_new_request(
        self, req_context: ReqContext
    ) -> RequestOffloadingContext:
        self._requests.setdefault(req_context.req_id, _Request())
        return RequestOffloadingContext()

    @override
    def on_request_finished(self, req_context: ReqContext) -> None:
        self._requests.pop(req_context.req_id, None)

    @override
    def on_schedule_end(self, context: ScheduleEndContext) -> None:
        # vLLM has submitted the loads of this step's hits just before.
        self._release_pins()

    @override
    def has_pending_work(self) -> bool:
        # A lookup that came between two steps: the next step releases it.
        return bool(self._pins)

    @override
    def drain_jobs(self) -> None:
        """vLLM calls this from a cache reset and from nowhere else, and has no
        other call that tells a tier of one."""
        self._release_pins()
        self._mover.drain()
        if self._clear_on_reset:
            self._link.ask_clear()

    @override
    def shutdown(self) -> None:
        """Raises RuntimeError when a copy does not end: vLLM must then keep
        the primary tier's memory, and does."""
        self._release_pins()
        self._mover.stop()
        self._requests.clear()
        self._touched = None
        self._link.close()

    # --- metrics -----------------------------------------------------------

    @classmethod
    @override
    def build_metric_definitions(
        cls, extra_config: dict[str, Any]
    ) -> dict[str, OffloadingMetricMetadata]:
        return metric_definitions()

    @override
    def get_stats(self) -> OffloadingConnectorStats | None:
        clears = self._link.clears
        self._counters.add(CLEARS, count=clears - self._clears_counted)
        self._clears_counted = clears
        stats = self._counters.take()
        stats.set_gauge(CONNECTED, int(self._link.connected))
        stats.set_gauge(PINS, len(self._pins))
        stats.set_gauge(WAITING_BLOCKS, self._mover.waiting_blocks)
        return stats

    @classmethod
    @override
    def config_info_keys(cls, tier_config: dict[str, Any]) -> tuple[str, ...]:
        return ("kvferry_namespace", "kvferry_revision")

    @override
    def config_info(self) -> ConfigInfoMapping:
        return {
            "kvferry_namespace": self._space.name,
            "kvferry_revision": self._space.revision,
        }

    # --- details -----------------------------------------------------------

    def _attach(self, timeout: float) -> Client:
        space = self._space
        return Client(
            space.name,
            groups=[space.group],
            model=space.model,
            revision=space.revision,
            dtype=space.dtype,
            socket_path=self._socket_path,
            client_name=f"vllm-tier {self._offloading_spec.config.engine_id}",
            timeout=timeout,
        )

    def _name_of(self, client: Client, key: OffloadKey) -> bytes | None:
        """The block's key, or None for what is not a digest and a group of
        this engine. The group is part of what is hashed: the blocks of one
        digest in two groups are two blocks."""
        if (
            not _KEY_BYTES_MIN <= len(key) <= _KEY_BYTES_MAX
            or get_offload_group_idx(key) not in self._group_ids
        ):
            return None
        return client.keys_from_digests(key, len(key), cryptographic=False)

    def _release_pins(self) -> None:
        for prefix in self._pins.values():
            prefix.release()
        self._pins.clear()


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(
            f"kvferry tier: {name} is {value}, must be {least} to {most}"
        )
