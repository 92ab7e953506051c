"""Attention within segments: the other place where a backend may want another form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mtc.models.dense import inner_products, product


def attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  segment: jax.Array,
  dropout: Callable[[jax.Array], jax.Array],
  *,
  causal: bool = False,
  window: int = 0,
  bias: jax.Array | None = None,
  scale: float | None = None,
) -> jax.Array:
  """Every token attends to the tokens of its own segment.

  Padding is a segment of its own (0), so no text sees it, and each query sees at least itself: no row of the softmax is
  empty and padding stays finite. The texts of a row are contiguous, so the distance of two columns is that of the
  positions in their text.

  Args:
    query: [rows, heads, length, depth]. With the heads before the length, both products are plain batched matrix
      products.
    key, value: the same, or with fewer heads: each then serves `heads / key heads` neighbouring heads of the query.
    segment: i32[rows, length].
    dropout: a function for the attention probabilities, f32[rows, heads, length, length].
    causal: whether a token attends to itself and those before it only.
    window: the greatest distance at which a token attends to another, on either side; 0 = no limit.
    bias: f32[heads, length, length], added to the logits.
    scale: of the logits; None = depth ** -0.5.

  Returns:
    [rows, heads, length, depth] in the dtype of the query.

  Reference: arXiv 1706.03762, eq. 1; packing by segments: arXiv 2107.02027; fewer key heads: arXiv 2305.13245.
  """

  # The gradient computes the probabilities again: kept, they are most of what a step holds in memory.
  @jax.checkpoint
  def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    rows, heads, length, depth = query.shape
    # Query heads of one key head stand below each other, as more queries: no copy of the key, and nothing to do for
    # one.
    grouped = query.reshape(rows, key.shape[1], -1, depth)
    # The softmax is in float32: in bfloat16 the probabilities of long texts would not add up to 1.
    logits = inner_products(grouped, key, jnp.float32)
    logits = logits.reshape(rows, heads, length, length) * (depth**-0.5 if scale is None else scale)
    if bias is not None:
      logits += bias[None]
    mask = segment[:, None, :, None] == segment[:, None, None, :]
    if causal or window:
      column = jnp.arange(length)
      distance = (column[:, None] - column[None, :])[None, None]
      mask &= (distance >= 0) if causal else True
      mask &= (jnp.abs(distance) <= window) if window else True
    logits = jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
    probabilities = dropout(jax.nn.softmax(logits, axis=-1)).astype(query.dtype)
    return product(probabilities.reshape(*grouped.shape[:3], length), value, value.dtype).reshape(query.shape)

  return attend(query, key, value)
