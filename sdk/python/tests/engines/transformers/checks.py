"""What the tests of two engine processes say about answers."""

import numpy as np
from engine_process import Answer, Prompt

# Random weights make near ties, which other shapes of a product may break
# otherwise: then the test's prompt is to blame, and says so.
LEAST_MARGIN = 1e-6


def assert_same(found: Answer, expected: Answer) -> None:
    """Tokens equal, logits within 1e-9, and no ties."""
    assert expected.margin > LEAST_MARGIN, "choose another seed of the prompt"
    assert found.tokens == expected.tokens
    assert found.logits.shape == expected.logits.shape
    assert np.abs(found.logits - expected.logits).max() < 1e-9


def assert_fed(found: Answer, prompt: Prompt, cached: int) -> None:
    """`cached` tokens came from the cache, and the rest was computed."""
    assert found.cached == cached
    # The last new token is not fed.
    assert found.fed == prompt.tokens - cached + len(found.tokens) - 1
