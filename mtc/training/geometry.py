"""How embeddings lie on the sphere: numbers that tell a space that is used from one that collapses."""

import jax
import jax.numpy as jnp

from mtc.types import Array

# Rows of the matrix of all pairs that are in memory at a time.
_ROWS = 256


def squared_distances(a: Array, b: Array) -> Array:
  """f32[rows], `|a - b|**2` of each row of two matrices [rows, dim]; their mean over positive pairs is the alignment.

  Reference: arXiv 2005.10242, section 4.1.1, with alpha = 2.
  """
  return jnp.sum((a - b) ** 2, axis=-1)


def uniformity(vectors: Array, weight: Array) -> Array:
  """The logarithm of the mean of `exp(-2 |x - y|**2)` over all pairs: lower is more uniform, 0 is one point.

  The corners (1, 0), (-1, 0) have `log(exp(-8)) = -8`, the lowest there is for two.

  Args:
    vectors: f32[texts, dim], of length 1.
    weight: f32[texts], 1, or 0 = no text.

  Reference: arXiv 2005.10242, section 4.1.2, with t = 2.
  """

  every = jnp.arange(len(weight))

  def row(number: Array) -> Array:
    cosines = jnp.matmul(vectors, vectors[number], precision=jax.lax.Precision.HIGHEST)
    others = weight * (every != number)
    return jnp.sum(jnp.exp(4 * (cosines - 1)) * others)  # |x - y|**2 = 2 - 2 cos

  rows = jax.lax.map(row, every, batch_size=_ROWS)
  return jnp.log(jnp.sum(rows * weight) / _pairs(weight))


def mean_similarity(vectors: Array, weight: Array) -> Array:
  """The mean cosine of all pairs, which is what random pairs have on average; arguments as of `uniformity`.

  It is `(|sum of all|**2 - texts) / (texts (texts - 1))`: of (1, 0), (0, 1) it is (2 - 2) / 2 = 0.
  """
  total = jnp.sum(vectors * weight[:, None], axis=0)
  return (jnp.sum(total * total) - jnp.sum(weight)) / _pairs(weight)


def effective_rank(vectors: Array) -> Array:
  """How many dimensions are used: the exponential of the entropy of the singular values of f32[texts, dim].

  It is between 1 and the smaller of texts and dim; rows of zeros change nothing. The rows (2, 0), (0, 2) have
  singular values of equal shares, and the effective rank 2.

  Reference: Roy and Vetterli, "The effective rank", EUSIPCO 2007, definition 1.
  """
  values = jnp.linalg.svd(vectors, compute_uv=False)
  share = values / jnp.maximum(jnp.sum(values), 1e-12)
  return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))


def _pairs(weight: Array) -> Array:
  count = jnp.sum(weight)
  return jnp.maximum(count * (count - 1), 1)
