"""Negative controls: the cache's bytes do count, and its holes are misses."""

import engine_process as engine
import numpy as np
import pytest
from checks import assert_fed, assert_same
from engine_process import Prompt, Setup, engine_peer

import kvferry

PROMPT = Prompt(150)

FULL_AND_SLIDING = pytest.mark.parametrize("kind", ["llama", "gpt-oss"])


@pytest.fixture
def both(daemon, prefill_process, decode_process):
    def attach(kind):
        setup = Setup(daemon.socket_path, kind)
        prefill_process.ask(engine.attach, setup)
        decode_process.ask(engine.attach, setup)
        return prefill_process, decode_process

    yield attach
    prefill_process.ask(engine.detach)
    decode_process.ask(engine.detach)


# Goal    The logits come from the published bytes: one wrong byte of one block
#         shows in them.
@FULL_AND_SLIDING
def test_a_flipped_byte_changes_the_logits(both, kind):
    prefill, decode = both(kind)
    prefill.ask(engine.prefill_with_a_flipped_byte, PROMPT, 5)

    found = decode.ask(engine.decode_prompt, PROMPT)
    expected = decode.ask(engine.reference, PROMPT)

    assert_fed(found, PROMPT, 144)
    assert np.abs(found.logits[0] - expected.logits[0]).max() > 1e-6


# Goal    A block that is gone ends the hit before it; the rest is computed.
@FULL_AND_SLIDING
def test_a_missing_block_shortens_the_hit(both, daemon, kind):
    prefill, decode = both(kind)
    prefill.ask(engine.prefill, PROMPT)
    key = prefill.ask(engine.keys, PROMPT)[5]
    with kvferry.Admin(daemon.socket_path) as admin:
        assert admin.evict(f"tiny-{kind}", key) == (1, 0)

    found = decode.ask(engine.decode_prompt, PROMPT)

    assert_fed(found, PROMPT, 80)
    assert_same(found, decode.ask(engine.reference, PROMPT))


# Goal    Of the sliding layers only the window counts.
# Method  144 tokens are there; the window at 144 is blocks 6 to 8 of the group.
@pytest.mark.parametrize(
    ("gone", "cached"), [(0, 144), (5, 144), (6, 96), (8, 128), (7, 112)]
)
def test_a_block_within_the_window_counts(both, daemon, gone, cached):
    prefill, decode = both("gpt-oss")
    prefill.ask(engine.prefill, PROMPT)
    key = prefill.ask(engine.keys, PROMPT, 1)[gone]
    with kvferry.Admin(daemon.socket_path) as admin:
        assert admin.evict("tiny-gpt-oss", key) == (1, 0)

    found = decode.ask(engine.decode_prompt, PROMPT)

    assert_fed(found, PROMPT, cached)
    assert_same(found, decode.ask(engine.reference, PROMPT))


# Goal    Pages that were written and not committed are not served.
@FULL_AND_SLIDING
def test_a_publisher_that_dies_before_the_commit_is_a_miss(
    both, daemon, kind
):
    prefill, decode = both(kind)
    with engine_peer("victim") as victim:
        victim.ask(engine.attach, Setup(daemon.socket_path, kind))
        victim.tell(engine.prefill_and_die, PROMPT)
        with pytest.raises(RuntimeError, match="exit code -9"):
            victim.answer()

        found = decode.ask(engine.decode_prompt, PROMPT)

    assert_fed(found, PROMPT, 0)
    assert_same(found, decode.ask(engine.reference, PROMPT))

    # And the next who computes it publishes it.
    prefill.ask(engine.prefill, PROMPT)
    assert_fed(decode.ask(engine.decode_prompt, PROMPT), PROMPT, 144)
