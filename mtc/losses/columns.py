"""The texts of all devices as columns of a logit matrix: which of them a row sees, and a block of them at a time."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from mtc.types import Array, Embeddings, PyTree


class Columns(NamedTuple):
  """One kind of text of all devices: the anchors, the positives or the hard negatives."""

  vectors: Array  # float[columns, dim]
  keys: Array  # i32[columns, m]; negative = none
  owner: Array  # i32[columns], the row of `everyone` that the text belongs to
  real: Array  # bool[columns], False = belongs to a filler row, or is no text at all
  teacher: Array | None  # float[columns, k], a teacher's vectors


class Rows(NamedTuple):
  """The texts of this device that the columns are compared with."""

  vectors: Array  # float[rows, dim]
  keys: Array  # i32[rows, m]; negative = none
  index: Array  # i32[rows], their rows of `everyone`


def queries(examples: Embeddings) -> Columns:
  """The anchors of the examples of all devices."""
  owner = jnp.arange(examples.weight.shape[0])
  teacher = None if examples.teacher is None else examples.teacher[:, 0]
  return Columns(full_precision(examples.anchor), examples.keys, owner, examples.weight > 0, teacher)


def positives(examples: Embeddings) -> Array:
  """The vectors of the positives, float[examples, dim]; the config refuses losses that ask single texts for them."""
  assert examples.positive is not None
  return examples.positive


def documents(examples: Embeddings) -> Columns:
  """The positives of the examples of all devices; there must be some."""
  teacher = None if examples.teacher is None else examples.teacher[:, 1]
  return queries(examples)._replace(vectors=full_precision(positives(examples)), teacher=teacher)


def hard_negatives(examples: Embeddings) -> Columns | None:
  """The hard negatives of the examples of all devices; None where there are none.

  Two examples with three hard negatives each become columns with the owners [0, 0, 0, 1, 1, 1].
  """
  if examples.negatives is None or examples.negatives.shape[1] == 0:
    return None
  count, n, dim = examples.negatives.shape
  real = jnp.broadcast_to(examples.weight[:, None] > 0, (count, n))
  if examples.negative_mask is not None:
    real &= examples.negative_mask
  keys, teacher = examples.negative_keys, examples.teacher
  return Columns(
    vectors=full_precision(examples.negatives).reshape(count * n, dim),
    keys=jnp.full((count * n, 1), -1) if keys is None else keys.reshape(count * n, 1),
    owner=jnp.repeat(jnp.arange(count), n),
    real=real.reshape(-1),
    teacher=None if teacher is None else teacher[:, 2:].reshape(count * n, -1),
  )


def local_rows(vectors: Array, local: Embeddings, offset: Array | int) -> Rows:
  """The rows of this device: its anchors or its positives."""
  return Rows(full_precision(vectors), local.keys, offset + jnp.arange(vectors.shape[0]))


def own(rows: Rows, columns: Columns) -> Array:
  """bool[rows, columns]: the column belongs to the row's own example."""
  return rows.index[:, None] == columns.owner[None, :]


def share_key(rows: Rows, columns: Columns) -> Array:
  """bool[rows, columns]: the row and the column share a key.

  Rows with the keys [[5, 7], [8, -1]] and columns with [[7, 9], [-1, -1], [8, 5]] give
  [[True, False, True], [False, False, True]].
  """
  # "No key" is another number on either side, so that it equals nothing.
  row_keys = jnp.maximum(rows.keys, -1)
  column_keys = jnp.where(columns.keys < 0, -2, columns.keys)
  return jnp.any(row_keys[:, None, :, None] == column_keys[None, :, None, :], axis=(-1, -2))


def cosines(rows: Rows, columns: Columns) -> Array:
  """float[rows, columns], of unit vectors."""
  return _products(rows.vectors, columns.vectors)


def teacher_cosines(rows: Array, columns: Columns) -> Array:
  """float[rows, columns], of a teacher's unit vectors float[rows, k] and those of the columns."""
  assert columns.teacher is not None  # the losses ask for a teacher before
  return _products(full_precision(rows), full_precision(columns.teacher))


def _products(a: Array, b: Array) -> Array:
  # What TPU and GPU multiply in by default is not float32: divided by a temperature, its error is one of the loss.
  return jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)


def summarised(function: Callable[[Columns], PyTree], columns: Columns, block: int) -> PyTree:
  """Applies `function` to `block` columns at a time and stacks its results, `[parts, ...]`.

  Args:
    function: of some columns.
    columns: those of all devices.
    block: how many at a time; 0 = all at once. The gradient computes each block again, so that forward and backward
      hold one block of the logit matrix at a time. The last block is filled up with columns that are not real.
  """
  size = columns.owner.shape[0]
  if not 0 < block < size:
    return jax.tree.map(lambda x: x[None], function(columns))
  blocks = -(-size // block)

  def split(x: Array, fill: float) -> Array:
    missing = [(0, blocks * block - size)] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, missing, constant_values=fill).reshape(blocks, block, *x.shape[1:])

  parts = Columns(
    vectors=split(columns.vectors, 0),
    keys=split(columns.keys, -1),
    owner=split(columns.owner, -1),
    real=split(columns.real, False),
    teacher=None if columns.teacher is None else split(columns.teacher, 0),
  )
  return lax.map(jax.checkpoint(function, prevent_cse=False), parts)


def full_precision(x: Array) -> Array:
  """float64 as it is, any other float as float32."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def unit(vectors: Array) -> Array:
  """The vectors [..., dim] at length 1, in full precision; one of zeros stays so, and passes no gradient on."""
  vectors = full_precision(vectors)
  square = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
  # rsqrt of at least eps, not a division by the norm: a vector of zeros would give a NaN gradient even with weight 0.
  return vectors * jnp.where(square > 0, lax.rsqrt(jnp.maximum(square, 1e-12)), 0)
