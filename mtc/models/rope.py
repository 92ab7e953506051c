"""Rotary positions: a token's place turns its queries and keys."""

import jax
import jax.numpy as jnp
import numpy as np


def frequencies(depth: int, theta: float) -> np.ndarray:
  """f32[depth / 2]: how far, in radians, each pair of a head's dimensions turns from one position to the next.

  Reference: arXiv 2104.09864, eq. 15.
  """
  return np.float32(1) / np.float32(theta) ** (np.arange(0, depth, 2, dtype=np.float32) / np.float32(depth))


def rotate(states: jax.Array, position: jax.Array, turns: np.ndarray, scale: float = 1.0) -> jax.Array:
  """Queries or keys [rows, heads, length, depth], turned by their positions i32[rows, length].

  Dimension i pairs with i + depth / 2, as in Hugging Face's checkpoints.

  Args:
    turns: f32[depth / 2], see `frequencies`.
    scale: of the result.

  Reference: arXiv 2104.09864, eq. 34.
  """
  # In float32, for bfloat16 would round the angle of a late position to whole turns.
  angle = position.astype(jnp.float32)[:, None, :, None] * jnp.asarray(turns)[None, None, None, :]
  cos, sin = jnp.cos(angle) * scale, jnp.sin(angle) * scale
  first, second = jnp.split(states.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.astype(states.dtype)
