"""A daemon that fails, and caches that must not meet."""

import logging
import os
import time

import engine_process as engine
import engine_steps as steps
import pytest
import torch
from checks import assert_fed, assert_same
from engine_process import Prompt, Setup
from tiny_models import build_config

from kvferry import errors
from kvferry.transformers import KVFerryCache

PROMPT = Prompt(150)

FULL_AND_SLIDING = pytest.mark.parametrize("kind", ["llama", "gpt-oss"])


@pytest.fixture
def engine_of(daemon, decode_process):
    """Attaches the engine process, whose failures are misses."""

    def attach(kind):
        setup = Setup(daemon.socket_path, kind, options={"strict": False})
        decode_process.ask(engine.attach, setup)
        return decode_process

    yield attach
    decode_process.ask(engine.detach)


def become_hit(peer, prompt, cached):
    """Asks until the prompt hits again, publishing what it computes."""
    deadline = time.monotonic() + 20
    while True:
        found = peer.ask(engine.decode_prompt, prompt, 12, True)
        if found.cached == cached or time.monotonic() > deadline:
            return found


# Goal    Whatever happens to the daemon between two steps, the answer is that
#         of a run without a cache; and when it is back, the cache is, too.
@FULL_AND_SLIDING
@pytest.mark.parametrize("how", ["stop", "kill", "restart"])
def test_the_daemon_fails_while_an_engine_runs(daemon, engine_of, kind, how):
    peer = engine_of(kind)
    expected = peer.ask(engine.reference, PROMPT, 60)
    peer.ask(engine.prefill, PROMPT)

    cached = peer.ask(steps.begin, PROMPT)
    peer.ask(steps.step, 20)
    getattr(daemon, how)()
    peer.ask(steps.step, 20)
    if not daemon.running:
        daemon.start()
    peer.ask(steps.step, 20)
    found = peer.ask(steps.end)

    assert cached == 144
    assert_fed_steps(found, 144, 60)
    assert_same(found, expected)
    assert peer.ask(engine.stats).failure_count > 0
    found = become_hit(peer, PROMPT, 144)
    assert found.cached == 144
    assert found.tokens == expected.tokens[:12]


# Goal    The daemon fails between one prompt and the next.
@FULL_AND_SLIDING
def test_the_daemon_fails_between_two_prompts(daemon, engine_of, kind):
    peer = engine_of(kind)
    expected = peer.ask(engine.reference, PROMPT)
    peer.ask(engine.prefill, PROMPT)

    daemon.kill()
    # Nothing is reused while nobody is there: it may still hit.
    found = peer.ask(engine.decode_prompt, PROMPT, 12, True)
    assert_fed(found, PROMPT, found.cached)
    assert_same(found, expected)

    daemon.start()
    found = become_hit(peer, PROMPT, 144)
    assert_fed(found, PROMPT, 144)
    assert_same(found, expected)


# Goal    An engine that starts before the daemon runs without it, and with it
#         as soon as it is there.
def test_an_engine_starts_before_the_daemon(daemon, engine_of):
    daemon.stop()
    peer = engine_of("llama")

    found = peer.ask(engine.decode_prompt, PROMPT, 12, True)

    assert_fed(found, PROMPT, 0)
    assert_same(found, peer.ask(engine.reference, PROMPT))
    assert peer.ask(engine.stats).failures["attach: UNAVAILABLE"] >= 1

    daemon.start()
    assert_fed(become_hit(peer, PROMPT, 144), PROMPT, 144)


def assert_fed_steps(found, cached, count):
    # Here the last new token is fed, too.
    assert found.cached == cached
    assert found.fed == PROMPT.tokens - cached + count


def attached(daemon, kind="llama", dtype=torch.float64, changes=None, **more):
    return KVFerryCache(
        build_config(kind, **(changes or {})),
        dtype=dtype,
        name="shared",
        socket_path=daemon.socket_path,
        **{"model": "tiny", **more},
    )


@pytest.mark.parametrize(
    "other",
    [
        {"dtype": torch.float32},
        {"dtype": torch.bfloat16},
        {"block_tokens": 32},
        {"slices": 2},
        {"model": "other"},
        {"revision": "other"},
        {"changes": {"num_hidden_layers": 3}},
        {"changes": {"num_key_value_heads": 4}},
        {"changes": {"head_dim": 8}},
        {"changes": {"rope_theta": 5e5}},
        {"kind": "gpt-oss"},
    ],
    ids=lambda other: "-".join(map(str, other.values())),
)
def test_another_model_or_geometry_is_refused_at_attach(daemon, other):
    with attached(daemon):
        with pytest.raises(errors.FailedPrecondition):
            attached(daemon, **other)


def test_another_window_is_refused_at_attach(daemon):
    with attached(daemon, "gpt-oss"):
        with pytest.raises(errors.FailedPrecondition):
            attached(daemon, "gpt-oss", changes={"sliding_window": 64})


def filled(kv):
    """A cache of 40 zeros."""
    made = kv.new_cache()
    shape = (2, 1, 2, 40, 16)
    for i in range(4):
        made.update(*torch.zeros(shape, dtype=torch.float64), i)
    return made


# Goal    The first failure of a kind is logged, and every one counted.
def test_failures_are_logged_once_and_counted(daemon, caplog):
    ids = torch.arange(40)
    with attached(daemon) as kv:
        daemon.kill()
        made = filled(kv)
        with caplog.at_level(logging.WARNING, "kvferry.transformers"):
            for _ in range(3):
                assert kv.publish(made, ids) == 0

    assert kv.stats.failures == {"publish: UNAVAILABLE": 3}
    assert len(caplog.records) == 1


def test_strict_raises(daemon):
    with attached(daemon, strict=True) as kv:
        daemon.kill()
        made = filled(kv)
        with pytest.raises(errors.Unavailable):
            kv.publish(made, torch.arange(40))
    with pytest.raises(errors.Unavailable):
        attached(daemon, strict=True)


# Goal    What is not this model's cache is refused at once, not published.
@pytest.mark.parametrize(
    ("shape", "dtype", "text"),
    [
        ((1, 4, 40, 16), torch.float64, r"layer 0: K is \(1, 4, 40, 16\)"),
        ((1, 2, 40, 8), torch.float64, r"layer 0: K is \(1, 2, 40, 8\)"),
        ((2, 2, 40, 16), torch.float64, r"layer 0: K is \(2, 2, 40, 16\)"),
        ((1, 2, 40, 16), torch.float32, "layer 0: K is torch.float32"),
    ],
)
def test_another_model_s_tensors_are_refused(daemon, shape, dtype, text):
    with attached(daemon) as kv:
        made = kv.new_cache()
        for i in range(4):
            made.update(*torch.zeros(2, *shape, dtype=dtype), i)

        with pytest.raises(errors.InvalidArgument, match=text):
            kv.publish(made, torch.arange(40))

        assert kv.stats.failure_count == 0


def test_tokens_of_another_sequence_are_refused(daemon):
    with attached(daemon) as kv, kv.sequence() as sequence:
        made = filled(kv)
        assert sequence.publish(made, torch.arange(40)) == 2

        with pytest.raises(errors.InvalidArgument, match="not those"):
            sequence.publish(made, torch.arange(40) + 1)
        with pytest.raises(errors.InvalidArgument, match="one sequence"):
            kv.restore(torch.zeros(2, 40))


def test_slices_need_a_number_in_common(daemon):
    with pytest.raises(errors.InvalidArgument, match="engine_instance is 0"):
        attached(daemon, slices=2, slice_count=1)
    with pytest.raises(errors.InvalidArgument, match=r"slices \[1, 3\)"):
        attached(daemon, slices=2, slice_first=1, slice_count=2)


# Goal    A forked child has its own session, and leaves the parent's alone.
def test_a_forked_child_attaches_anew(daemon):
    ids = torch.arange(40)
    with attached(daemon, strict=True) as kv:
        kv.publish(filled(kv), ids)

        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if kv.restore(ids).tokens == 32 else 2
            finally:
                os._exit(code)

        assert os.waitpid(child, 0)[1] == 0
        assert kv.restore(ids).tokens == 32


def test_a_closed_cache_misses(daemon):
    kv = attached(daemon)
    kv.close()

    assert kv.restore(torch.arange(40)).tokens == 0
    assert kv.client is None
