"""From the hidden states of tokens to one vector for each text."""

import jax
import jax.numpy as jnp

from mtc.types import Tokens


def pool(hidden: jax.Array, tokens: Tokens, how: str) -> jax.Array:
  """Pools hidden states [rows * length, width] within each slot to f32[rows * slots, width]; an empty slot gives zeros.

  Example: a row with segments [1, 1, 2, 0], slots=3 and hidden states a, b, c, d gives, by mean, (a + b) / 2, c and 0.

  Args:
    how: mean, cls (the first token of each text), max or last (the last token).
  """
  segment, position = jnp.asarray(tokens.segment), jnp.asarray(tokens.position)
  rows, length = segment.shape
  belongs = segment[:, :, None] == jnp.arange(1, tokens.slots + 1)[None, None, :]  # [rows, length, slots]
  counts = jnp.sum(belongs, axis=1)  # [rows, slots]
  if how == "max":
    return _max(hidden, segment, counts)
  if how == "mean":
    weights = belongs / jnp.maximum(counts, 1)[:, None, :]
  elif how == "cls":
    weights = belongs & (position == 0)[:, :, None]
  elif how == "last":
    weights = belongs & (position[:, :, None] == counts[:, None, :] - 1)
  else:
    raise ValueError(f"pooling {how!r} is unknown; use mean, cls, max or last")
  # A matrix product instead of a scatter: on GPU a scatter adds in no fixed order, and bits would differ between runs.
  pooled = jnp.einsum(
    "rls,rlw->rsw",
    weights.astype(jnp.float32),
    hidden.reshape(rows, length, -1).astype(jnp.float32),
    precision=jax.lax.Precision.HIGHEST,
  )
  return pooled.reshape(rows * tokens.slots, -1)


def _max(hidden: jax.Array, segment: jax.Array, counts: jax.Array) -> jax.Array:
  rows, slots = counts.shape
  first_slot = jnp.arange(rows)[:, None] * slots
  index = jnp.where(segment > 0, first_slot + segment - 1, rows * slots)  # padding goes to a slot past the last
  greatest = jax.ops.segment_max(hidden.astype(jnp.float32), index.reshape(-1), num_segments=rows * slots + 1)
  return jnp.where(counts.reshape(-1, 1) > 0, greatest[:-1], 0.0)
