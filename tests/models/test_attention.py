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


def no_dropout():
  return lambda probabilities: probabilities


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
    no_dropout,
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
  jax.block_until_ready(attention(query, key, value, jnp.asarray(SEGMENT), lambda: look))
  jax.effects_barrier()
  assert seen[0].size == 2 * HEADS * 8 * 8
  np.testing.assert_allclose(jnp.sum(seen[0], axis=-1).reshape(-1), np.ones(2 * HEADS * 8), rtol=0, atol=1e-6)


def test_the_softmax_of_bfloat16_is_in_float32():
  query, key, value = (jnp.asarray(x, jnp.bfloat16) for x in states(4))
  seen = []
  found = attention(query, key, value, jnp.asarray(SEGMENT), lambda: lambda p: seen.append(p.dtype) or p)
  assert (seen[0], found.dtype) == (jnp.float32, jnp.bfloat16)
  gradient = jax.grad(lambda q: jnp.sum(attention(q, key, value, jnp.asarray(SEGMENT), no_dropout)))(query)
  assert np.isfinite(gradient.astype(jnp.float32)).all()


def test_the_gradient_keeps_no_probabilities():
  length = 256
  query, key, value = (jnp.ones((2, HEADS, length, DEPTH)) for _ in range(3))
  segment = jnp.ones((2, length), jnp.int32)
  total = lambda *states: jnp.sum(attention(*states, segment, lambda: lambda probabilities: 2 * probabilities))
  kept = jax.vjp(total, query, key, value)[1]
  assert max(leaf.size for leaf in jax.tree.leaves(kept)) == query.size < 2 * HEADS * length**2


@pytest.mark.parametrize(("key_heads", "causal", "window", "biased"), [(4, False, 2, True), (2, True, 0, False)])
@pytest.mark.parametrize("halved", [1, 3])
def test_halved_rows_are_the_whole_ones(key_heads, causal, window, biased, halved):
  rng = np.random.default_rng(0)
  shapes = [(3, heads, 8, DEPTH) for heads in (HEADS, key_heads, key_heads)]
  query, key, value = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
  segment = jnp.array([[1, 1, 1, 2, 2, 2, 2, 0]] * (3 - halved) + [[1, 1, 2, 2, 3, 3, 3, 0]] * halved)
  distance = np.arange(8)[:, None] - np.arange(8)
  bias = jnp.asarray(rng.normal(size=(HEADS, 15))[:, distance + 7], jnp.float32) if biased else None

  def total(halved, *states):
    mixed = attention(*states, segment, no_dropout, halved=halved, causal=causal, window=window, bias=bias)
    return jnp.sum(mixed**2 * (segment > 0)[:, None, :, None]), mixed

  gradients, mixed = jax.grad(total, argnums=(1, 2, 3), has_aux=True)(halved, query, key, value)
  expected, whole = jax.grad(total, argnums=(1, 2, 3), has_aux=True)(0, query, key, value)
  text = (segment > 0)[:, None, :, None]  # what padding becomes is nothing that is ever used
  np.testing.assert_allclose(mixed * text, whole * text, rtol=0, atol=1e-6)
  for found, wanted in zip(gradients, expected, strict=True):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_the_dropout_of_whole_and_halved_rows_is_drawn_twice():
  drawn = []
  query, key, value = (jnp.ones((2, HEADS, 8, DEPTH)) for _ in range(3))
  segment = jnp.array([[1] * 8, [1, 1, 1, 1, 2, 2, 2, 2]])
  attention(query, key, value, segment, lambda: drawn.append(1) or (lambda p: p), halved=1)
  assert len(drawn) == 2


def test_tracing_keeps_nothing():
  query, key, value = (jnp.ones((2, HEADS, 8, DEPTH)) for _ in range(3))

  def total(query, rate):
    drop = lambda: lambda probabilities: probabilities * rate  # a tracer, as the key of dropout is
    return jnp.sum(attention(query, key, value, jnp.asarray(SEGMENT), drop, halved=1))

  with jax.checking_leaks():
    jax.jit(jax.grad(total))(query, jnp.float32(2))
