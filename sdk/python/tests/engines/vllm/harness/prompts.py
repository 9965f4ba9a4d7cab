"""Prompts: reproducible, perhaps with a common beginning."""

import random


def prompt(seed: int, count: int) -> list[int]:
    numbers = random.Random(seed)
    return [numbers.randrange(3, 50_000) for _ in range(count)]


def family(
    seed: int, shared: int, tails: tuple[int, ...]
) -> dict[str, list[int]]:
    """Prompts that share their first `shared` tokens."""
    head = prompt(seed, shared)
    return {
        f"p{i}": head + prompt(seed * 1000 + i + 1, tail)
        for i, tail in enumerate(tails)
    }
