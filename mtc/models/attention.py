"""Attention within segments: the other place where a backend may want another form."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from mtc.models.dense import inner_products, product


def attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  segment: jax.Array,
  draw_dropout: Callable[[], Callable[[jax.Array], jax.Array]],
  *,
  halved: int = 0,
  causal: bool = False,
  window: int = 0,
  bias: jax.Array | None = None,
  scale: float | None = None,
) -> jax.Array:
  """Every token attends to the tokens of the same segment.

  Padding is segment 0, so no text sees it, and each query sees at least itself: no row of the softmax is
  empty and padding stays finite. The texts of a row are contiguous, so the distance of two columns is that of the
  positions in their text.

  Args:
    query: [rows, heads, length, depth]. With the heads before the length, both products are plain batched matrix
      products.
    key, value: the same, or with fewer heads: each then serves `heads / key heads` neighbouring heads of the query.
    segment: i32[rows, length].
    draw_dropout: makes a pure function for attention probabilities, of any shape; called once, or twice where rows are
      halved.
    halved: number of last rows that have no text across their middle. Their tokens are compared with those of the same
      half only, which is half the work.
    causal: whether a token attends to itself and those before it only.
    window: the greatest distance at which a token attends to another, on either side; 0 = no limit.
    bias: f32[heads, length, length], added to the logits; equal for columns of equal distance: what the first half has,
      the second has too.
    scale: of the logits; None = depth ** -0.5.

  Returns:
    [rows, heads, length, depth] in the dtype of the query.

  Reference: arXiv 1706.03762, eq. 1; packing by segments: arXiv 2107.02027; fewer key heads: arXiv 2305.13245.
  """

  whole, (length, depth) = query.shape[0] - halved, query.shape[2:]

  def attend(
    parts: int,
    dropout: Callable[[jax.Array], jax.Array],
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment: jax.Array,
  ) -> jax.Array:
    # A row in several parts, each for itself: [rows, key heads, parts, columns, depth].
    columns, served = length // parts, query.shape[1] // key.shape[1]
    key, value = (x.reshape(*x.shape[:2], parts, columns, depth) for x in (key, value))
    # Query heads of one key head stand below each other, as more queries: no copy of the key, and nothing to do for
    # one.
    grouped = query.reshape(*key.shape[:2], served, parts, columns, depth).swapaxes(2, 3)
    # The softmax is in float32: in bfloat16 the probabilities of long texts would not add up to 1.
    logits = inner_products(grouped.reshape(*key.shape[:3], served * columns, depth), key, jnp.float32)
    logits = logits.reshape(*grouped.shape[:-1], columns) * (depth**-0.5 if scale is None else scale)
    if bias is not None:
      logits += bias[:, :columns, :columns].reshape(1, key.shape[1], 1, served, columns, columns)
    segment = segment.reshape(-1, 1, parts, 1, columns)
    mask = segment[..., :, None] == segment[..., None, :]
    if causal or window:
      column = jnp.arange(columns)
      distance = (column[:, None] - column[None, :])[None, None, None, None]
      mask &= (distance >= 0) if causal else True
      mask &= (jnp.abs(distance) <= window) if window else True
    logits = jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
    probabilities = dropout(jax.nn.softmax(logits, axis=-1)).astype(query.dtype)
    mixed = product(probabilities.reshape(*key.shape[:3], served * columns, columns), value, value.dtype)
    return mixed.reshape(grouped.shape).swapaxes(2, 3).reshape(query.shape)

  def in_parts(parts: int, *states: jax.Array) -> jax.Array:
    # The gradient computes the probabilities again: kept, they are most of what a step holds in memory. (Not static
    # arguments of jax.checkpoint: it would keep the dropout's key for ever.)
    return jax.checkpoint(functools.partial(attend, parts, draw_dropout()))(*states)

  states = query, key, value, segment
  if not halved:
    return in_parts(1, *states)
  return jnp.concatenate([in_parts(1, *(x[:whole] for x in states)), in_parts(2, *(x[whole:] for x in states))])
