"""Prefill in one process, decode in another."""

import time

import engine_process as engine
import engine_steps as steps
import pytest
from checks import assert_fed, assert_same
from engine_process import Prompt, Setup

LLAMA = "llama"
GPT_OSS = "gpt-oss"  # its window is 40 tokens

FULL_AND_SLIDING = pytest.mark.parametrize("kind", [LLAMA, GPT_OSS])


@pytest.fixture
def both(daemon, prefill_process, decode_process):
    """Attaches both processes by the same setup; gives the two."""

    def attach(**fields):
        setup = Setup(daemon.socket_path, **fields)
        for peer in (prefill_process, decode_process):
            peer.tell(engine.attach, setup)
        for peer in (prefill_process, decode_process):
            peer.answer()
        return prefill_process, decode_process

    yield attach
    for peer in (prefill_process, decode_process):
        peer.ask(engine.detach)


# Goal    Decode takes up what prefill left: the bytes are those that prefill's
#         model computed, the logits those of a run without a cache, and only
#         the rest of the prompt is computed.
# Method  Prompts longer and shorter than the window of 40, of whole blocks and
#         not, in chunks that fit blocks and window and that do not.
@FULL_AND_SLIDING
@pytest.mark.parametrize(
    ("tokens", "chunk", "cached"),
    [
        (300, 128, 288),
        (300, 1000, 288),
        (299, 7, 288),
        (33, 1000, 32),
        (40, 16, 32),
        # The last token is computed, whatever is there.
        (96, 96, 95),
        (16, 5, 15),
        (17, 17, 16),
        (15, 15, 0),
    ],
)
def test_decode_takes_up_what_prefill_left(both, kind, tokens, chunk, cached):
    prefill, decode = both(kind=kind)
    prompt = Prompt(tokens)

    published = prefill.ask(engine.prefill, prompt, chunk)
    pulled = decode.ask(engine.pulled_pages, prompt)
    restored = decode.ask(engine.restored_pages, prompt)
    found = decode.ask(engine.decode_prompt, prompt)
    expected = decode.ask(engine.reference, prompt)

    assert (cached > 0) == bool(pulled)
    assert pulled.items() <= published.items()
    assert restored.items() <= pulled.items()
    # Everything was published, and all that full attention needs was pulled.
    groups = 1 if kind == LLAMA else 2
    stats = prefill.ask(engine.stats)
    assert len(published) == groups * (tokens // 16)
    assert stats.published_blocks == len(published)
    assert stats.unpublished_blocks == 0
    full = {name for name in published if name[0] == 0}
    assert {name for name in pulled if name[0] == 0} == full
    assert_fed(found, prompt, cached)
    assert_same(found, expected)


@FULL_AND_SLIDING
@pytest.mark.parametrize(
    ("dtype", "through_torch"),
    [("float64", True), ("bfloat16", False), ("bfloat16", True)],
)
def test_bytes_are_the_same_whatever_copies_them(
    both, kind, dtype, through_torch
):
    prefill, decode = both(
        kind=kind, dtype=dtype, through_torch=through_torch
    )
    prompt = Prompt(150)

    published = prefill.ask(engine.prefill, prompt, 64)
    restored = decode.ask(engine.restored_pages, prompt)

    # A restored sliding layer has two whole blocks of its 39 tokens.
    assert len(restored) == 9 + (2 if kind == GPT_OSS else 0)
    assert restored.items() <= published.items()
    if dtype == "float64":
        found = decode.ask(engine.decode_prompt, prompt)
        assert_fed(found, prompt, 144)
        assert_same(found, decode.ask(engine.reference, prompt))


@FULL_AND_SLIDING
@pytest.mark.parametrize("block_tokens", [8, 48])
def test_blocks_of_other_sizes(both, kind, block_tokens):
    prefill, decode = both(kind=kind, options={"block_tokens": block_tokens})
    prompt = Prompt(201)

    published = prefill.ask(engine.prefill, prompt, 50)
    pulled = decode.ask(engine.pulled_pages, prompt)
    found = decode.ask(engine.decode_prompt, prompt)

    assert pulled.items() <= published.items()
    assert_fed(found, prompt, 201 // block_tokens * block_tokens)
    assert_same(found, decode.ask(engine.reference, prompt))


# Goal    What decode computes is there for the next turn, whoever takes it.
@FULL_AND_SLIDING
def test_the_next_turn_hits_what_decode_appended(both, kind):
    prefill, decode = both(kind=kind)
    prompt, more = Prompt(100), Prompt(30, seed=2)
    prefill.ask(engine.prefill, prompt)

    found = decode.ask(engine.decode_prompt, prompt, 60, True)
    tokens = found.tokens
    turn = prefill.ask(engine.decode_next_turn, prompt, tokens, more)
    expected = prefill.ask(engine.reference_next_turn, prompt, tokens, more)

    assert_fed(found, prompt, 96)
    assert_same(found, decode.ask(engine.reference, prompt, 60))
    # The last token was not fed: 159 of 160 are there, in 9 blocks of 16.
    assert turn.cached == 144
    assert turn.fed == 100 + 60 + 30 - 144 + len(turn.tokens) - 1
    assert_same(turn, expected)


@FULL_AND_SLIDING
def test_the_model_s_own_generate_takes_a_restored_cache(both, kind):
    prefill, decode = both(kind=kind)
    prompt = Prompt(120)
    prefill.ask(engine.prefill, prompt)

    cached, tokens = decode.ask(engine.generate, prompt, True)

    assert cached == 112
    assert tokens == decode.ask(engine.generate, prompt, False)[1]


# Goal    A sliding layer of the library drops what a later publish would need:
#         that is a miss, not a wrong hit. One of ours is enough for a hit at
#         the end, however late it is published.
def test_publishing_after_the_fact(both):
    prefill, decode = both(kind=GPT_OSS)
    late, plain = Prompt(300), Prompt(300, seed=2)

    prefill.ask(engine.prefill, late, 90, False, True)
    prefill.ask(engine.prefill, plain, 90, False, True, True)

    found = decode.ask(engine.decode_prompt, late)
    assert_fed(found, late, 288)
    assert_same(found, decode.ask(engine.reference, late))
    found = decode.ask(engine.decode_prompt, plain)
    assert_fed(found, plain, 0)
    assert_same(found, decode.ask(engine.reference, plain))


# Goal    A tail block saves computing the tokens after the last full block.
@pytest.mark.parametrize("through_torch", [False, True])
def test_a_tail_counts_where_attention_is_full(both, through_torch):
    prefill, decode = both(kind=LLAMA, through_torch=through_torch)
    for prompt in (Prompt(109), Prompt(7)):
        prefill.ask(engine.prefill, prompt, 1000, True)

        found = decode.ask(engine.decode_prompt, prompt)

        assert_fed(found, prompt, prompt.tokens - 1)
        assert_same(found, decode.ask(engine.reference, prompt))


# Goal    Of two prompts with a common start, the second hits that much.
@FULL_AND_SLIDING
def test_a_common_prefix_hits(both, kind):
    prefill, decode = both(kind=kind)
    # The same tokens, and then others.
    prefill.ask(engine.prefill, Prompt(100), 32)
    long = Prompt(170)

    found = decode.ask(engine.decode_prompt, long)

    assert_fed(found, long, 96)
    assert_same(found, decode.ask(engine.reference, long))
    assert decode.ask(engine.stats).restored_tokens == 96


# Goal    What is there is not written again.
@FULL_AND_SLIDING
def test_publishing_again_writes_nothing(both, kind):
    prefill, decode = both(kind=kind)
    prompt = Prompt(100)
    prefill.ask(engine.prefill, prompt)
    first = prefill.ask(engine.stats)

    decode.ask(engine.prefill, prompt)

    again = decode.ask(engine.stats)
    assert first.published_blocks == again.present_blocks
    assert again.published_blocks == 0


# Goal    Chunks are there for others while their writer goes on.
@FULL_AND_SLIDING
def test_a_prompt_is_there_before_its_writer_is_done(both, kind):
    prefill, decode = both(kind=kind)
    prompt = Prompt(150)
    prefill.ask(steps.begin, prompt)

    # Commits do not wait for the daemon.
    deadline = time.monotonic() + 20
    found = decode.ask(engine.decode_prompt, prompt)
    while found.cached < 144 and time.monotonic() < deadline:
        found = decode.ask(engine.decode_prompt, prompt)

    assert_fed(found, prompt, 144)
    prefill.ask(steps.step, 12)
    assert_same(found, prefill.ask(steps.end))


# Goal    Who computes the same at the same time harms nobody.
@FULL_AND_SLIDING
def test_two_publish_one_prompt_at_once(both, kind):
    peers = both(kind=kind)
    prompt = Prompt(300)
    for peer in peers:
        peer.tell(engine.prefill, prompt, 64)
    published = [peer.answer() for peer in peers]

    pulled = peers[0].ask(engine.pulled_pages, prompt)
    found = peers[1].ask(engine.decode_prompt, prompt)

    assert published[0] == published[1]
    assert pulled.items() <= published[0].items()
    assert_fed(found, prompt, 288)
