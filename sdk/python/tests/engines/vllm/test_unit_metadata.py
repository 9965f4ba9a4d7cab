"""What the two sides tell each other."""

import pickle
import random

from kvferry.vllm.metadata import (
    KVFerryMetadata,
    KVFerryWorkerMetadata,
    LoadRequest,
    PartBlocks,
    SaveEntry,
    pack_ids,
    unpack_ids,
)


def test_ids_there_and_back() -> None:
    for ids in ([], [0], [-1, 5, 2**40], list(range(3_000))):
        assert list(unpack_ids(pack_ids(ids))) == ids
        assert len(pack_ids(ids)) == 8 * len(ids)


def test_metadata_travels() -> None:
    blocks = PartBlocks(1, bytes(range(32)), pack_ids([3, 4]))
    sent = KVFerryMetadata(
        step=7,
        engine_instance=2**63 - 1,
        job=5,
        loads=[LoadRequest("a", [blocks])],
        saves=[SaveEntry("b", blocks, b"")],
        commit_job=5,
        fence_job=4,
        first_valid_job=3,
    )

    received = pickle.loads(pickle.dumps(sent))

    assert received == sent
    assert len(received.loads[0].parts[0]) == 2


def test_a_long_prompt_is_small() -> None:
    """Two buffers, not an object a block."""
    count = 2_048
    blocks = PartBlocks(
        0, random.Random(1).randbytes(16 * count), pack_ids(range(count))
    )
    metadata = KVFerryMetadata(loads=[LoadRequest("a", [blocks])])

    assert len(pickle.dumps(metadata)) < 24 * count + 1_000


def test_workers_are_merged() -> None:
    """In any order, and with an output that comes a step late."""
    old = KVFerryWorkerMetadata(done_jobs={0: 3})
    outputs = [
        KVFerryWorkerMetadata(
            done_jobs={0: 5}, steps={0: 9}, lost_saves={(5, 0)}
        ),
        KVFerryWorkerMetadata(done_jobs={1: 4}, failed_loads={"a"}),
        KVFerryWorkerMetadata(failed_loads={"b"}, lost_saves={(4, 1)}),
        old,
    ]
    for seed in range(8):
        order = random.Random(seed).sample(outputs, len(outputs))
        merged = order[0]
        for each in order[1:]:
            aggregated = merged.aggregate(each)
            assert isinstance(aggregated, KVFerryWorkerMetadata)
            merged = aggregated

        assert merged.done_jobs == {0: 5, 1: 4}
        assert merged.steps == {0: 9}
        assert merged.lost_saves == {(5, 0), (4, 1)}
        assert merged.failed_loads == {"a", "b"}
    assert old.done_jobs == {0: 3}  # none is changed by it
