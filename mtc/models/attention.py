"""Attention within segments: the other place where a backend may want another form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mtc.models.dense import precision


def attention(
  query: jax.Array, key: jax.Array, value: jax.Array, segment: jax.Array, dropout: Callable[[jax.Array], jax.Array]
) -> jax.Array:
  """Every token attends to the tokens of its own segment.

  Padding is a segment of its own (0), so no text sees it, and each query sees at least itself: no row of the softmax is
  empty and padding stays finite.

  Args:
    query, key, value: [rows, heads, length, depth]. With the heads before the length, both products are plain batched
      matrix products.
    segment: i32[rows, length].
    dropout: a function for the attention probabilities, f32[rows, heads, length, length].

  Returns:
    [rows, heads, length, depth] in the dtype of the query.

  Reference: arXiv 1706.03762, eq. 1; packing by segments: arXiv 2107.02027.
  """
  # The softmax is in float32: in bfloat16 the probabilities of long texts would not add up to 1.
  logits = jnp.einsum("rhqd,rhkd->rhqk", query, key, precision=precision(query), preferred_element_type=jnp.float32)
  logits = logits * query.shape[-1] ** -0.5
  mask = segment[:, None, :, None] == segment[:, None, None, :]
  logits = jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
  probabilities = dropout(jax.nn.softmax(logits, axis=-1)).astype(query.dtype)
  return jnp.einsum("rhqk,rhkd->rhqd", probabilities, value, precision=precision(value))
