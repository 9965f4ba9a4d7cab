"""A prefill that is split over two processes by heads."""

import engine_process as engine
import pytest
from checks import assert_fed, assert_same
from engine_process import Prompt, Setup, engine_peer

PROMPT = Prompt(150)
INSTANCE = 4711

FULL_AND_SLIDING = pytest.mark.parametrize("kind", ["llama", "gpt-oss"])


@pytest.fixture(scope="module")
def second_process():
    with engine_peer("prefill 1") as peer:
        yield peer


def rank_setup(daemon, kind, rank, file=None):
    """One that computes its half of the heads, or (without a file) all and
    publishes half of them."""
    return Setup(
        daemon.socket_path,
        kind,
        options={
            "slices": 2,
            "slice_first": rank,
            "slice_count": 1,
            "own_heads": file is not None,
            "engine_instance": INSTANCE,
        },
        split=None if file is None else (rank, 2, str(file)),
    )


def attach(ranks, daemon, kind, file):
    for rank, peer in enumerate(ranks):
        peer.tell(engine.attach, rank_setup(daemon, kind, rank, file))
    for peer in ranks:
        peer.answer()


def decode_setup(daemon, kind):
    return Setup(daemon.socket_path, kind, options={"slices": 2})


@FULL_AND_SLIDING
@pytest.mark.parametrize("own_heads", [True, False])
def test_two_prefill_processes_and_one_decode(
    daemon, prefill_process, second_process, decode_process, tmp_path, kind,
    own_heads,
):  # fmt: skip
    ranks = (prefill_process, second_process)
    file = tmp_path / "rendezvous" if own_heads else None
    attach(ranks, daemon, kind, file)
    for peer in ranks:
        peer.tell(engine.prefill, PROMPT, 64)
    halves = [peer.answer() for peer in ranks]
    if not own_heads:
        # Each has both halves, and published one.
        halves = [
            {name: page for name, page in half.items() if name[2] == rank}
            for rank, half in enumerate(halves)
        ]

    decode_process.ask(engine.attach, decode_setup(daemon, kind))
    pulled = decode_process.ask(engine.pulled_pages, PROMPT)
    found = decode_process.ask(engine.decode_prompt, PROMPT)

    assert {name[2] for name in pulled} == {0, 1}
    assert pulled.items() <= (halves[0] | halves[1]).items()
    assert_fed(found, PROMPT, 144)
    assert_same(found, decode_process.ask(engine.reference, PROMPT))

    # A decode that is split restores its own half only.
    if own_heads:
        for rank, peer in enumerate(ranks):
            restored = peer.ask(engine.restored_pages, PROMPT)
            assert {name[2] for name in restored} == {rank}
            assert restored.items() <= halves[rank].items()
    for peer in (*ranks, decode_process):
        peer.ask(engine.detach)


# Goal    A slice that is missing makes the whole block one.
# Method  One of two processes dies between its last write and its commit; the
#         other commits.
@FULL_AND_SLIDING
def test_one_of_two_that_dies_is_a_miss(
    daemon, prefill_process, decode_process, tmp_path, kind
):
    with engine_peer("victim") as victim:
        ranks = (prefill_process, victim)
        attach(ranks, daemon, kind, tmp_path / "rendezvous")
        prefill_process.tell(engine.prefill, PROMPT)
        victim.tell(engine.prefill_and_die, PROMPT)
        with pytest.raises(RuntimeError, match="exit code -9"):
            victim.answer()
        prefill_process.answer()

        decode_process.ask(engine.attach, decode_setup(daemon, kind))
        found = decode_process.ask(engine.decode_prompt, PROMPT)

    assert_fed(found, PROMPT, 0)
    assert_same(found, decode_process.ask(engine.reference, PROMPT))

    # One that computes it all makes up for them.
    found = decode_process.ask(engine.decode_prompt, PROMPT, 12, True)
    again = decode_process.ask(engine.decode_prompt, PROMPT)
    assert_fed(again, PROMPT, 144)
    assert_same(again, found)
    for peer in (prefill_process, decode_process):
        peer.ask(engine.detach)
