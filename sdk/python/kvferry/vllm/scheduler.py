"""The connector in the scheduler's process: matches, pins, plans.

No CUDA here. The pins of a hit are held by this process until every worker
has loaded it; a worker takes its own by the same keys.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vllm.v1.request import RequestStatus

from kvferry import errors
from kvferry.vllm.clearing import Clearing
from kvferry.vllm.events import StoredEvents
from kvferry.vllm.link import DaemonLink, Faults
from kvferry.vllm.matches import Matches
from kvferry.vllm.metadata import (
    KVFerryMetadata,
    KVFerryWorkerMetadata,
    LoadRequest,
    PartBlocks,
    pack_ids,
)
from kvferry.vllm.requests import RequestState
from kvferry.vllm.saves import SavePlanner
from kvferry.vllm.stats import KVFerryStats
from kvferry.vllm.tickets import TicketDesk

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.distributed.kv_events import KVCacheEvent
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks, KVCacheManager
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request

    from kvferry import Client
    from kvferry.vllm.config import ConnectorConfig
    from kvferry.vllm.spec import NamespaceLayout

# Requests whose blocks are worth keeping: they ran to an end of their own.
_ENDED_WELL = frozenset(
    (
        RequestStatus.FINISHED_STOPPED,
        RequestStatus.FINISHED_LENGTH_CAPPED,
        RequestStatus.FINISHED_REPETITION,
    )
)


class SchedulerSide:
    """What KVConnectorBase_V1 asks of a connector in the scheduler.

    Threads  the scheduler's
    """

    def __init__(
        self,
        vllm_config: "VllmConfig",
        kv_cache_config: "KVCacheConfig",
        layout: "NamespaceLayout",
        config: "ConnectorConfig",
    ) -> None:
        transfer = vllm_config.kv_transfer_config
        assert transfer is not None
        self._layout = layout
        self._config = config
        self._loads_at_all = transfer.is_kv_consumer
        self._saves_at_all = config.save and transfer.is_kv_producer
        self._async = config.load == "async"
        self._stats = KVFerryStats()
        self._faults = Faults()
        workers_device = config.device_of(
            vllm_config.device_config.device_type, 0
        )
        self._link = DaemonLink(
            layout,
            config,
            self._faults,
            publish=False,
            client_name="vllm-scheduler",
            # The workers read what this finds, from their devices.
            residences="host" if workers_device is None else "any",
        )
        self._link.attach()
        self._desk = TicketDesk(layout, config, self._faults, self._link)
        self._events = StoredEvents(vllm_config, kv_cache_config)
        self._saves = SavePlanner(
            layout,
            self._events,
            self._stats,
            rank_count=vllm_config.parallel_config.world_size,
            backlog_share=config.save_backlog,
            hold_blocks=kv_cache_config.needs_kv_cache_zeroing,
        )
        self._rank_count = vllm_config.parallel_config.world_size
        self._matches = Matches(
            layout, config, self._link, self._faults, self._stats
        )
        self._clearing = Clearing(
            layout, config, self._link, self._faults, self._saves
        )
        self._requests: dict[str, RequestState] = {}
        self._loads: list[LoadRequest] = []
        self._step = 0
        self._step_by_rank = [0] * self._rank_count
        # Loads before a forward: pinned until its step was taken in.
        self._sync_loads: list[tuple[int, str]] = []

    # --- a request arrives ---

    def bind_kv_cache_manager(self, manager: "KVCacheManager") -> None:
        self._saves.bind(manager)

    def on_new_request(self, request: "Request") -> None:
        earlier = self._requests.get(request.request_id)
        if earlier is not None:
            self._matches.unpin(earlier)
        state = self._requests[request.request_id] = RequestState(
            request, self._layout
        )
        if state.tickets:
            self._desk.examine(state)

    def get_num_new_matched_tokens(
        self, request: "Request", local_tokens: int
    ) -> tuple[int | None, bool]:
        state = self._state(request)
        if not self._loads_at_all or not self._clearing.usable:
            self._matches.unpin(state)
            return 0, False
        tokens = self._matches.find(state, local_tokens)
        if tokens is None:
            self._stats.add("asked_again")
            return None, False
        return tokens, self._async and tokens > 0

    # --- its blocks are allocated ---

    def update_state_after_alloc(
        self, request: "Request", blocks: "KVCacheBlocks", num_tokens: int
    ) -> None:
        state = self._state(request)
        if num_tokens == 0:
            # Loaded already, or somebody else's hit was taken.
            if not state.loading:
                self._matches.unpin(state)
            return
        first_tokens = state.match_local
        end_tokens = first_tokens + num_tokens
        parts: list[PartBlocks] = []
        for part in self._layout.parts:
            # vLLM has null blocks for what no window reaches.
            first = max(
                first_tokens // part.block_tokens,
                part.first_block(end_tokens),
            )
            end = end_tokens // part.block_tokens
            if end <= first:
                continue
            parts.append(
                PartBlocks(
                    part.index,
                    state.keys_of(part, first, end),
                    pack_ids(
                        [
                            block.block_id
                            for block in blocks.blocks[part.group][first:end]
                        ]
                    ),
                )
            )
        # A load before a forward is over when anything is heard of the step.
        state.loading = self._async
        self._loads.append(LoadRequest(request.request_id, parts))

    # --- a step ---

    def build_connector_meta(
        self, scheduler_output: "SchedulerOutput"
    ) -> KVFerryMetadata:
        self._step += 1
        self._clearing.poll()
        metadata = KVFerryMetadata(step=self._step)
        if self._loads:
            metadata.loads = self._loads
            self._loads = []
            if not self._async:
                self._sync_loads += [
                    (self._step, load.request_id) for load in metadata.loads
                ]
        if self._saves_at_all:
            self._plan_saves(scheduler_output, metadata)
        return metadata

    def _plan_saves(
        self, output: "SchedulerOutput", metadata: KVFerryMetadata
    ) -> None:
        client = self._link.up if self._clearing.usable else None
        if client is not None:
            for request_id, count in output.num_scheduled_tokens.items():
                state = self._requests.get(request_id)
                if state is None:
                    continue
                # The scheduler's own count; it goes back after a preemption.
                before = state.request.num_computed_tokens
                computed = before + count
                if not state.may_save:
                    if before > 0:
                        continue
                    state.may_save = True  # computed anew, by new weights
                if computed >= state.next_save_tokens:
                    self._plan_one(state, client, computed)
                if (
                    state.remote_decode
                    and computed >= state.request.num_prompt_tokens > before
                ):
                    metadata.commit_job = -1
        self._saves.ship(metadata)
        if metadata.commit_job:
            # Earlier chunks of the prompt are in earlier jobs.
            metadata.commit_job = self._saves.last_job

    def _plan_one(
        self, state: RequestState, client: "Client", computed_tokens: int
    ) -> None:
        try:
            self._saves.plan(
                state,
                client,
                computed_tokens,
                even_if_many=state.remote_decode,
            )
        except errors.Error as error:
            self._faults.report("naming blocks", error)

    def update_connector_output(self, output: "KVConnectorOutput") -> None:
        answer = output.kv_connector_worker_meta
        if isinstance(answer, KVFerryWorkerMetadata):
            for request_id in answer.failed_loads:
                state = self._requests.get(request_id)
                if state is not None:
                    state.may_load = False
            for rank, step in answer.steps.items():
                if 0 <= rank < self._rank_count:
                    self._step_by_rank[rank] = step
            self._saves.update(answer)
            if self._sync_loads:
                done = min(self._step_by_rank)
                while self._sync_loads and self._sync_loads[0][0] <= done:
                    self._end_load(self._sync_loads.pop(0)[1])
        for request_id in output.finished_recving or ():
            self._end_load(request_id)

    def _end_load(self, request_id: str) -> None:
        state = self._requests.get(request_id)
        if state is None:
            return
        state.loading = False
        self._matches.unpin(state)
        self._desk.release(state)
        if state.request.is_finished():
            del self._requests[request_id]

    # --- a request ends ---

    def request_finished(
        self, request: "Request"
    ) -> tuple[bool, dict[str, Any] | None]:
        state = self._requests.get(request.request_id)
        if state is None:
            return False, None
        answer: dict[str, Any] | None = None
        client = self._link.up
        if (
            self._saves_at_all
            and self._clearing.usable
            and client is not None
            and not state.loading
            and state.may_save
            and request.status in _ENDED_WELL
        ):
            # The last token's KV was not computed, nor what is in flight.
            self._plan_one(
                state,
                client,
                min(request.num_computed_tokens, request.num_tokens - 1),
            )
            if state.remote_decode:
                answer = self._desk.mint(state, client)
                if answer.get("kvferry_ticket"):
                    self._stats.add("tickets")
        if not state.loading:
            self._matches.unpin(state)
            self._desk.release(state)
            del self._requests[request.request_id]
        # Saves need no delay of the blocks' release (SavePlanner); a load
        # under way delays it by itself.
        return False, answer

    @property
    def work_pending(self) -> bool:
        """Whether steps without requests still bring something about."""
        return self._saves.pending or self._desk.pending

    @property
    def frees_soon(self) -> bool:
        return self._saves.frees_soon

    # --- the cache as a whole ---

    def reset_cache(self) -> bool:
        """The weights have changed: nothing of the old ones is found from
        here on, whether the daemon can be reached or not."""
        for state in self._requests.values():
            state.may_save = False
            if not state.loading:
                self._matches.unpin(state)
        self._clearing.start()
        return True

    def take_events(self) -> "Iterable[KVCacheEvent]":
        return self._events.take()

    def take_stats(self) -> KVFerryStats | None:
        self._faults.count_into(self._stats)
        return self._stats.take()

    def shutdown(self) -> None:
        for state in self._requests.values():
            self._matches.unpin(state)
        self._requests.clear()
        self._matches.close()
        self._clearing.close()
        self._desk.close()
        self._link.close()

    # --- small things ---

    def _state(self, request: "Request") -> RequestState:
        state = self._requests.get(request.request_id)
        if state is None:
            self.on_new_request(request)
            state = self._requests[request.request_id]
        return state
