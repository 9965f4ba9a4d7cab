"""Prefill in one engine, decode in another, by kv_transfer_params."""

from typing import Any

import pytest

from harness.engine import Engine
from harness.models import HYBRID, LLAMA, ModelShape
from harness.prompts import prompt
from harness.site import Site

PREFILL = {"do_remote_decode": True, "do_remote_prefill": False}

by_shape = pytest.mark.parametrize(
    "shape", [LLAMA, HYBRID], ids=lambda s: s.name
)


def prefill(
    engine: Engine, name: str, text: list[int], **params: Any
) -> dict[str, Any]:
    """Its first token, and what the router passes on."""
    engine.add(name, text, 1, params=PREFILL | params)
    engine.run()
    answer = engine.outputs[name].params
    assert answer is not None
    return answer


@by_shape
@pytest.mark.parametrize("load", ["async", "sync"])
def test_hand_over(site: Site, shape: ModelShape, load: str) -> None:
    text = prompt(100, 150)
    prefiller = site.engine(shape=shape, role="kv_producer", chunk_tokens=64)
    decoder = site.engine(load, shape=shape, role="kv_consumer")

    params = prefill(prefiller, "p", text)
    decoder.add("d", text, 8, params=params)
    decoder.run()

    assert params["do_remote_prefill"] and params["kvferry_ticket"]
    assert params["kvferry_tokens"] == 144
    site.expect(decoder, {"d": text}, 8)
    assert decoder.outputs["d"].external_tokens == 144
    assert decoder.computed_tokens == 150 - 144 + 7
    assert decoder.deviations() == []


@by_shape
def test_the_ticket_keeps_the_blocks(site: Site, shape: ModelShape) -> None:
    text = prompt(101, 150)
    prefiller = site.engine(shape=shape, role="kv_producer")
    decoder = site.engine(shape=shape, role="kv_consumer")
    params = prefill(prefiller, "p", text)
    other = {"other": prompt(102, 100)}
    prefiller.generate(other, 1)
    site.settle_saves(prefiller)

    evicted, pinned = site.evict()
    decoder.add("d", text, 4, params=params)
    decoder.run()

    assert evicted > 0 and pinned > 0
    site.expect(decoder, {"d": text}, 4)
    assert decoder.outputs["d"].external_tokens == 144
    # It is released with the load: nothing is left pinned.
    site.settle(decoder)
    assert site.evict()[1] == 0


def test_a_request_that_ends_first_gives_its_ticket_back(site: Site) -> None:
    text = prompt(103, 150)
    prefiller = site.engine(role="kv_producer")
    decoder = site.engine(role="kv_consumer")
    params = prefill(prefiller, "p", text)

    decoder.add("d", text, 4, params=params)
    decoder.core.abort_requests(["d"])
    decoder.run()
    site.settle(decoder)

    assert site.evict()[1] == 0


@pytest.mark.parametrize(
    "damage",
    [
        {"kvferry_ticket": ["nonsense"]},
        {"kvferry_ticket": "nonsense"},
        {"kvferry_ticket": [7, None]},
        {"kvferry_ticket": None},
        {"kvferry_tokens": -5},
        {"kvferry_tokens": "many"},
    ],
    ids=str,
)
def test_a_bad_ticket_is_a_hint_less(
    site: Site, damage: dict[str, Any]
) -> None:
    """What a client sends cannot hurt: at worst it is computed."""
    text = prompt(104, 150)
    prefiller = site.engine(role="kv_producer")
    decoder = site.engine(role="kv_consumer")
    params = prefill(prefiller, "p", text) | damage

    decoder.add("d", text, 4, params=params)
    decoder.run()

    site.expect(decoder, {"d": text}, 4)
    with site.admin() as admin:
        admin.clear("engines")  # The real ticket was not redeemed.


def test_another_prompt_with_a_strangers_ticket(site: Site) -> None:
    """Blocks are found by the request's own tokens, never by the ticket."""
    prefiller = site.engine(role="kv_producer")
    decoder = site.engine(role="kv_consumer")
    params = prefill(prefiller, "p", prompt(105, 150))
    text = prompt(105, 70) + prompt(106, 80)

    decoder.add("d", text, 4, params=params)
    decoder.run()

    site.expect(decoder, {"d": text}, 4)
    assert decoder.outputs["d"].external_tokens == 64


def test_two_consumers(site: Site) -> None:
    text = prompt(107, 100)
    prefiller = site.engine(role="kv_producer")
    decoders = [site.engine(role="kv_consumer") for _ in range(2)]
    params = prefill(prefiller, "p", text, kvferry_consumers=2)

    for decoder in decoders:
        decoder.add("d", text, 4, params=params)
        decoder.run()

        site.expect(decoder, {"d": text}, 4)
        assert decoder.outputs["d"].external_tokens == 96
        site.settle(decoder)
    assert site.evict()[1] == 0


def test_a_short_prompt_has_no_ticket(site: Site) -> None:
    prefiller = site.engine(role="kv_producer")
    decoder = site.engine(role="kv_consumer")
    params = prefill(prefiller, "p", prompt(108, 12))

    decoder.add("d", prompt(108, 12), 4, params=params)
    decoder.run()

    assert params["kvferry_tokens"] == 0
    assert "kvferry_ticket" not in params
    site.expect(decoder, {"d": prompt(108, 12)}, 4)


def test_decode_follows_decode(site: Site) -> None:
    """Roles that do both: the decoder's own blocks are kept too."""
    text = prompt(109, 100)
    first, second = site.engine(), site.engine()
    params = prefill(first, "p", text)
    second.add("d", text, 40, params=params)
    second.run()
    site.settle(second)
    answer = second.outputs["d"].tokens
    second.forget()
    turn = {"next": text + answer + prompt(110, 10)}

    second.generate(turn)

    site.expect(second, turn)
    assert second.outputs["next"].external_tokens == (100 + 39) // 16 * 16
