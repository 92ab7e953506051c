"""Dropout whose random bits cost next to nothing."""

from collections.abc import Callable
import functools
import math

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp


class Dropout(nn.Module):
  """As Linen's, with other random bits: see `dropout`."""

  rate: float
  deterministic: bool

  def __call__(self, inputs: jax.Array) -> jax.Array:
    return self.drawn()(inputs)

  def drawn(self) -> Callable[[jax.Array], jax.Array]:
    """One draw, as a pure function: what `jax.checkpoint` computes twice must not be a module."""
    if self.deterministic or not self.rate:
      return lambda inputs: inputs
    return functools.partial(dropout, rate=self.rate, key=self.make_rng("dropout"))


def dropout(inputs: jax.Array, rate: float, key: jax.Array) -> jax.Array:
  """Each element is 0 with the probability `rate`, and else divided by `1 - rate`.

  Which ones is a hash of the key and the element's place: jax's own generators write their bits to memory first, on CPU
  in one thread, which was a third of a training step; a hash is computed where it is used.
  """
  words = jax.random.key_data(key).reshape(-1)
  place = lax.iota(jnp.uint32, math.prod(inputs.shape)).reshape(inputs.shape)
  # Hashed twice: once, the masks of two keys would be the same bits in another order.
  bits = _hash(_hash(place ^ words[0]) + words[1])
  return jnp.where(bits >= jnp.uint32(round(rate * 2**32)), inputs / (1 - rate), 0)


def _hash(x: jax.Array) -> jax.Array:
  """u32 -> u32, one to one.

  Reference: lowbias32 of "Prospecting for Hash Functions", https://nullprogram.com/blog/2018/07/31/.
  """
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)
