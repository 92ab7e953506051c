"""Pooling against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.models.pooling import pool
from mtc.types import Tokens

BY_HAND = {"mean": lambda x: x.mean(0), "cls": lambda x: x[0], "last": lambda x: x[-1], "max": lambda x: x.max(0)}
TEXTS = [[[1] * 3, [1] * 2, [1]], [[1] * 8], [], [[1], [1] * 4]]


@pytest.fixture(scope="module")
def tokens(grid) -> Tokens:
  return grid(TEXTS, length=8, slots=3)


@pytest.fixture(scope="module")
def hidden() -> np.ndarray:
  return np.random.default_rng(0).normal(size=(32, 5)).astype(np.float32) - 3  # so that a maximum with 0 is seen


@pytest.mark.parametrize("how", BY_HAND)
def test_by_hand(tokens, hidden, how):
  expected = np.zeros((12, 5), np.float32)
  for row, texts in enumerate(TEXTS):
    for slot in range(len(texts)):
      own = hidden.reshape(4, 8, 5)[row][tokens.segment[row] == slot + 1]
      expected[row * 3 + slot] = BY_HAND[how](own)
  np.testing.assert_allclose(pool(hidden, tokens, how), expected, rtol=0, atol=1e-6)


def test_the_example_of_the_docstring(grid):
  a, b, c, d = hidden = jnp.arange(8.0).reshape(4, 2) + 1
  pooled = pool(hidden, grid([[[1, 1], [1]]], length=4, slots=3), "mean")
  np.testing.assert_array_equal(pooled, jnp.stack([(a + b) / 2, c, 0 * d]))


@pytest.mark.parametrize("how", BY_HAND)
def test_gradients_reach_the_texts_only(tokens, hidden, how):
  gradient = jax.grad(lambda hidden: jnp.sum(pool(hidden, tokens, how)))(jnp.asarray(hidden))
  padding = tokens.segment.reshape(-1) == 0
  assert np.isfinite(gradient).all()
  assert not np.asarray(gradient)[padding].any()
  # Six texts, and whatever the pooling, the weights of a text's tokens add up to 1 in each of 5 dimensions.
  np.testing.assert_allclose(gradient.sum(), 6 * 5, rtol=1e-6)


def test_bfloat16_is_pooled_in_float32(tokens, hidden):
  half = jnp.asarray(hidden, jnp.bfloat16)
  np.testing.assert_array_equal(pool(half, tokens, "mean"), pool(half.astype(jnp.float32), tokens, "mean"))


def test_an_unknown_pooling(tokens, hidden):
  with pytest.raises(ValueError, match="pooling 'sum' is unknown; use mean, cls, max or last"):
    pool(hidden, tokens, "sum")
