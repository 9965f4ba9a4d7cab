"""The tier's queue: every job ends once, and none waits for ever."""

import threading
import time
from collections.abc import Iterator

import pytest
from kvferry.vllm.secondary_tier_jobs import Job, JobPool
from support.peer_wait import eventually
from vllm.v1.kv_offload.tiering.base import JobResult

FAR = 3600.0


class Recorder:
    """Jobs whose ends it notes; those made with held=True run until let go."""

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.given_up: dict[int, str] = {}
        self.let_go = threading.Event()
        self.begun = threading.Semaphore(0)

    def job(
        self,
        number: int,
        *,
        blocks: int = 1,
        held: bool = False,
        seconds: float = FAR,
        raises: Exception | None = None,
    ) -> Job:
        def run() -> JobResult:
            self.begun.release()
            if held:
                assert self.let_go.wait(20)
            if raises is not None:
                raise raises
            self.ran.append(number)
            return JobResult(job_id=number, success=True)

        def give_up(why: str) -> JobResult:
            assert number not in self.given_up
            self.given_up[number] = why
            return JobResult(job_id=number, success=False)

        return Job(blocks, time.monotonic() + seconds, run, give_up)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.let_go.set()


@pytest.fixture
def pool() -> Iterator[JobPool]:
    made = JobPool(1, load_blocks_max=4, store_blocks_max=4)
    yield made
    assert made.stop(20)


def _results(pool: JobPool, count: int) -> dict[int, bool]:
    """The next results: of these jobs, each once."""
    found: list[JobResult] = []
    assert eventually(
        lambda: found.extend(pool.take_results()) or len(found) >= count
    )
    numbers = {result.job_id: result.success for result in found}
    assert len(numbers) == len(found) == count
    return numbers


def _occupy(pool: JobPool, recorder: Recorder, number: int = 0) -> None:
    """Has the pool's thread run a job until it is let go."""
    pool.push_load(recorder.job(number, held=True))
    assert recorder.begun.acquire(timeout=20)


def test_jobs_run_and_results_come_once(
    pool: JobPool, recorder: Recorder
) -> None:
    for number in range(3):
        pool.push_store(recorder.job(number))
    assert _results(pool, 3) == {0: True, 1: True, 2: True}
    assert pool.take_results() == []


def test_loads_go_first(pool: JobPool, recorder: Recorder) -> None:
    _occupy(pool, recorder)
    pool.push_store(recorder.job(1))
    pool.push_store(recorder.job(2))
    pool.push_load(recorder.job(3))
    recorder.let_go.set()
    _results(pool, 4)
    assert recorder.ran == [0, 3, 1, 2]


def test_of_two_threads_one_takes_stores_first(recorder: Recorder) -> None:
    pool = JobPool(2, 64, 64)
    _occupy(pool, recorder, 0)
    _occupy(pool, recorder, 1)
    for number in range(10, 20):
        pool.push_load(recorder.job(number, held=True))
    pool.push_store(recorder.job(2, held=True))
    recorder.let_go.set()
    _results(pool, 13)
    # Without it the store were the last of all.
    assert recorder.ran.index(2) < 12
    assert pool.stop(20)


def test_a_full_queue_refuses_at_once(
    pool: JobPool, recorder: Recorder
) -> None:
    _occupy(pool, recorder)
    pool.push_store(recorder.job(1, blocks=3))
    pool.push_store(recorder.job(2, blocks=2))
    assert _results(pool, 1) == {2: False}
    assert recorder.given_up == {2: "queue_full"}
    # What still fits is taken, and loads have their own bound.
    pool.push_store(recorder.job(3, blocks=1))
    pool.push_load(recorder.job(4, blocks=4))
    assert pool.waiting_blocks == 8
    recorder.let_go.set()
    assert _results(pool, 4) == {0: True, 1: True, 3: True, 4: True}
    assert pool.waiting_blocks == 0


def test_a_job_beyond_the_bound_is_taken_when_nothing_waits(
    pool: JobPool, recorder: Recorder
) -> None:
    _occupy(pool, recorder)
    pool.push_store(recorder.job(1, blocks=100))
    pool.push_store(recorder.job(2, blocks=1))
    assert _results(pool, 1) == {2: False}
    recorder.let_go.set()
    assert _results(pool, 2) == {0: True, 1: True}


def test_a_job_that_waits_too_long_ends(
    pool: JobPool, recorder: Recorder
) -> None:
    _occupy(pool, recorder)
    pool.push_store(recorder.job(1, seconds=0.01))
    assert _results(pool, 1) == {1: False}
    assert recorder.given_up == {1: "too_late"}


def test_a_job_that_is_late_when_its_turn_comes_does_not_run(
    pool: JobPool, recorder: Recorder
) -> None:
    pool.push_load(recorder.job(1, seconds=-1.0))
    assert _results(pool, 1) == {1: False}
    assert recorder.ran == []


def test_a_fault_ends_its_job_and_not_the_thread(
    pool: JobPool, recorder: Recorder
) -> None:
    pool.push_load(recorder.job(1, raises=ZeroDivisionError("a test's")))
    pool.push_load(recorder.job(2))
    assert _results(pool, 2) == {1: False, 2: True}
    assert recorder.given_up == {1: "fault"}


def test_drain_waits_for_what_runs_and_what_waits(
    pool: JobPool, recorder: Recorder
) -> None:
    _occupy(pool, recorder)
    pool.push_store(recorder.job(1))
    drained = threading.Event()

    def drain() -> None:
        pool.drain()
        drained.set()

    thread = threading.Thread(target=drain)
    thread.start()
    assert not drained.wait(0.05)
    recorder.let_go.set()
    thread.join(20)
    assert drained.is_set()
    # Its results are there when it returns.
    assert len(pool.take_results()) == 2


def test_stop_gives_up_what_waits_and_waits_for_what_runs(
    recorder: Recorder,
) -> None:
    pool = JobPool(1, 4, 4)
    _occupy(pool, recorder)
    pool.push_store(recorder.job(1))
    assert not pool.stop(0.05)
    assert recorder.given_up == {1: "stopped"}
    recorder.let_go.set()
    assert pool.stop(20)
    pool.push_load(recorder.job(2))
    assert {r.job_id: r.success for r in pool.take_results()} == {
        0: True,
        1: False,
        2: False,
    }
