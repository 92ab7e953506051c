"""CoSENT: pairs with a higher score should have a higher cosine."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from mtc.losses.base import Loss
from mtc.losses.columns import full_precision, positives
from mtc.losses.fields import require_positive
from mtc.types import Array, Embeddings

_ABSENT = -1e30  # finite: see InfoNCE
_NO_SCORE = "CoSENT got examples without a score; use it with `Scored` examples"


@dataclass
class CoSENT(Loss):
  """`log(1 + sum exp(scale (cosine_i - cosine_j)))` over the pairs of all devices with `score_i < score_j`.

  It is one number for the whole set, given to every row. Only the order of the scores matters. Rows of weight 0 are
  out.

  Two pairs with the scores [0, 1] and the cosines [0.5, 0.5] have the loss `log(1 + exp(0)) = 0.6931`, at any scale.

  Reference: https://kexue.fm/archives/8847; doi 10.1109/TASLP.2024.3402087. The numbers are those of CoSENTLoss of
  sentence-transformers 6.2.
  """

  scale: float = 20.0  # factor of the cosine differences, one over the temperature

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right."""
    require_positive("CoSENT", "scale", self.scale)

  def negatives(self, local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """i32[examples]: the pairs whose score is another than the row's."""
    if local.score is None or everyone.score is None:
      raise ValueError(_NO_SCORE)
    other = (local.score[:, None] != everyone.score[None, :]) & (everyone.weight[None, :] > 0)
    return jnp.sum(other, axis=1)

  @property
  def without_negatives(self) -> str:
    """All scores of a batch are equal."""
    return "all scores of a batch are equal; use data with other scores, or a loss such as CosineRegression"

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """f32[examples]; see `Loss`. Raises ValueError for examples without a score."""
    if everyone.score is None:
      raise ValueError(_NO_SCORE)
    cosines = jnp.sum(full_precision(everyone.anchor) * full_precision(positives(everyone)), axis=-1)
    # Sorted by score, the partners of a pair are a suffix: n log n instead of n^2.
    order = jnp.argsort(jnp.where(everyone.weight > 0, everyone.score, 0))
    score, real = everyone.score[order], everyone.weight[order] > 0
    score = jnp.where(real, score, 0)
    logits = self.scale * cosines[order]
    suffixes = jax.lax.cumlogsumexp(jnp.where(real, -logits, _ABSENT), reverse=True)
    suffixes = jnp.append(suffixes, _ABSENT)
    higher = jnp.searchsorted(score, score, side="right")
    pairs = jnp.where(real, logits + suffixes[higher], _ABSENT)
    loss = jax.nn.logsumexp(jnp.append(pairs, 0))
    return jnp.broadcast_to(loss, local.weight.shape)
