"""Attention against loops over single tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.models.attention import attention

SEGMENT = np.array([[1, 1, 1, 2, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1, 1, 1]], np.int32)
HEADS, DEPTH = 4, 3


def by_hand(query, key, value, segment, causal, window, bias, scale):
  out = np.zeros(query.shape)
  for row, head, i in np.ndindex(query.shape[:3]):
    served = head // (HEADS // key.shape[1])
    seen = [
      j
      for j in range(len(segment[row]))
      if segment[row, j] == segment[row, i] and (not causal or j <= i) and (not window or abs(i - j) <= window)
    ]
    logits = np.array([query[row, head, i] @ key[row, served, j] * scale + bias[head, i, j] for j in seen])
    weights = np.exp(logits - logits.max())
    out[row, head, i] = weights @ value[row, served, seen] / weights.sum()
  return out


def states(key_heads):
  rng = np.random.default_rng(0)
  return [rng.normal(size=(2, heads, 8, DEPTH)).astype(np.float32) for heads in (HEADS, key_heads, key_heads)]


@pytest.mark.parametrize(
  ("key_heads", "causal", "window", "biased", "scale"),
  [
    (4, False, 0, False, None),
    (4, True, 0, False, None),
    (4, False, 2, False, None),
    (4, False, 1, True, 0.7),
    (2, True, 1, True, None),
    (1, False, 0, False, 2.0),
  ],
)
def test_by_hand(key_heads, causal, window, biased, scale):
  query, key, value = states(key_heads)
  bias = np.random.default_rng(1).normal(size=(HEADS, 8, 8)).astype(np.float32) * biased
  found = attention(
    *(jnp.asarray(x) for x in (query, key, value, SEGMENT)),
    lambda probabilities: probabilities,
    causal=causal,
    window=window,
    bias=jnp.asarray(bias) if biased else None,
    scale=scale,
  )
  expected = by_hand(query, key, value, SEGMENT, causal, window, bias, scale or DEPTH**-0.5)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_dropout_sees_the_probabilities_of_each_head():
  seen = []
  query, key, value = (jnp.asarray(x) for x in states(2))
  look = lambda p: jax.debug.callback(seen.append, p) or p
  jax.block_until_ready(attention(query, key, value, jnp.asarray(SEGMENT), look))
  jax.effects_barrier()
  assert seen[0].shape == (2, HEADS, 8, 8)
  np.testing.assert_allclose(jnp.sum(seen[0], axis=-1), np.ones((2, HEADS, 8)), rtol=0, atol=1e-6)


def test_the_softmax_of_bfloat16_is_in_float32():
  query, key, value = (jnp.asarray(x, jnp.bfloat16) for x in states(4))
  seen = []
  found = attention(query, key, value, jnp.asarray(SEGMENT), lambda p: seen.append(p.dtype) or p)
  assert (seen[0], found.dtype) == (jnp.float32, jnp.bfloat16)
  gradient = jax.grad(lambda q: jnp.sum(attention(q, key, value, jnp.asarray(SEGMENT), lambda p: p)))(query)
  assert np.isfinite(gradient.astype(jnp.float32)).all()


def test_the_gradient_keeps_no_probabilities():
  length = 256
  query, key, value = (jnp.ones((2, HEADS, length, DEPTH)) for _ in range(3))
  segment = jnp.ones((2, length), jnp.int32)
  total = lambda *states: jnp.sum(attention(*states, segment, lambda probabilities: 2 * probabilities))
  kept = jax.vjp(total, query, key, value)[1]
  assert max(leaf.size for leaf in jax.tree.leaves(kept)) == query.size < 2 * HEADS * length**2
