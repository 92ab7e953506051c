"""The sigmoid loss of SigLIP: each pair of texts is a separate yes-or-no question."""

from collections.abc import Callable
from dataclasses import dataclass
import math

import jax
import jax.numpy as jnp

from mtc.losses import columns as cols
from mtc.losses.base import Loss
from mtc.losses.fields import require_block, require_positive
from mtc.types import Array, Embeddings


@dataclass
class Sigmoid(Loss):
  """Row `i` has the loss `sum_c log(1 + exp(-z_c (cosine(q_i, c) / temperature + bias)))`.

  The columns `c` are the positives and hard negatives of all devices; `z` is 1 for the own positive and -1 for the
  others. A column that shares a key with the row is left out or, with `multi_positive`, has `z = 1`.

  Two orthogonal pairs at temperature 1 and bias 0, `q = d = [[1, 0], [0, 1]]`, have the loss
  `log(1 + exp(-1)) + log(2) = 1.0064` each.

  Reference: arXiv 2303.15343 eq. 1 and algorithm 1.
  """

  temperature: float = 0.1  # divides the cosines
  bias: float = -10.0  # negative: nearly all pairs are negatives, and training should not begin by learning that
  learn: bool = True  # temperature and bias, from these values on
  multi_positive: bool = False  # columns that share a key: True = positives, False = left out
  block: int = 0  # columns of the logit matrix that are in memory at a time; 0 = all

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right."""
    require_positive("Sigmoid", "temperature", self.temperature)
    require_block("Sigmoid", self.block)
    if not math.isfinite(self.bias):
      raise ValueError(f"bias={self.bias} of Sigmoid is not a number; -10 is usual")

  def init(self) -> dict[str, Array]:
    """`log_scale = log(1 / temperature)` and `bias`, when they are learned."""
    if not self.learn:
      return {}
    return {
      "log_scale": jnp.asarray(-math.log(self.temperature), jnp.float32),
      "bias": jnp.asarray(self.bias, jnp.float32),
    }

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """f32[examples]; see `Loss`."""
    scale = jnp.exp(scalars["log_scale"]) if self.learn else 1 / self.temperature
    bias = scalars["bias"] if self.learn else self.bias

    def summary(rows: cols.Rows, columns: cols.Columns, positive: Array, negative: Array) -> Array:
      logits = scale * cols.cosines(rows, columns) + bias
      terms = jax.nn.softplus(jnp.where(positive, -logits, logits))
      return jnp.sum(jnp.where(positive | negative, terms, 0), axis=1)

    return self._summarised(summary, local, everyone, offset)

  def negatives(self, local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """i32[examples]; columns that share a key with the row do not count."""

    def summary(rows: cols.Rows, columns: cols.Columns, positive: Array, negative: Array) -> Array:
      return jnp.sum(negative, axis=1)

    return self._summarised(summary, local, everyone, offset)

  def products(self, examples: int, hard: int, dim: int) -> int:
    """Those with all documents."""
    return dim * examples * (1 + hard)

  def _summarised(
    self, summary: Callable[..., Array], local: Embeddings, everyone: Embeddings, offset: Array | int
  ) -> Array:
    """The sum over the columns of `summary(rows, columns, positive, negative)`; the masks are bool[rows, columns]."""
    rows = cols.local_rows(local.anchor, local, offset)

    def summarise(columns: cols.Columns, hard: bool) -> Array:
      mine, same = cols.own(rows, columns), cols.share_key(rows, columns)
      real = jnp.broadcast_to(columns.real[None, :], mine.shape)
      partner = jnp.zeros_like(mine) if hard else mine
      positive = partner | (real & same) if self.multi_positive else partner
      return summary(rows, columns, positive, real & ~same & ~partner)

    documents, negatives = cols.documents(everyone), cols.hard_negatives(everyone)
    parts = cols.summarised(lambda c: summarise(c, False), documents, self.block).sum(0)
    if negatives is not None:
      parts += cols.summarised(lambda c: summarise(c, True), negatives, self.block).sum(0)
    return parts
