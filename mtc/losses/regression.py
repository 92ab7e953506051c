"""Cosine regression: the cosine of a pair should be its score."""

from dataclasses import dataclass
import math

import jax.numpy as jnp

from mtc.losses.base import Loss
from mtc.losses.columns import full_precision, positives
from mtc.types import Array, Embeddings


@dataclass
class CosineRegression(Loss):
  """The squared difference of the cosine and the score, after the score is scaled to [0, 1].

  A cosine of 0.5 and a score of 4 on a scale from 0 to 5 have the loss `(0.5 - 0.8)^2 = 0.09`.

  Reference: arXiv 1908.10084 section 3, the regression objective. With the default scale the numbers are those of
  CosineSimilarityLoss of sentence-transformers 6.2.
  """

  score_range: tuple[float, float] = (0.0, 1.0)  # the scores of which the cosines should be 0 and 1

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right."""
    if len(self.score_range) != 2 or not all(math.isfinite(s) for s in self.score_range):
      raise ValueError(f"score_range={self.score_range} of CosineRegression is not two numbers; use e.g. (0, 5)")
    if not self.score_range[0] < self.score_range[1]:
      raise ValueError(f"score_range={self.score_range} of CosineRegression does not rise; put the lower score first")

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """f32[examples]; see `Loss`. Raises ValueError for examples without a score."""
    if local.score is None:
      raise ValueError("CosineRegression got examples without a score; use it with `Scored` examples")
    low, high = self.score_range
    cosines = jnp.sum(full_precision(local.anchor) * full_precision(positives(local)), axis=-1)
    return jnp.square(cosines - (local.score - low) / (high - low))
