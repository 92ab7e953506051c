"""Matryoshka: the first dimensions of an embedding are an embedding too."""

from dataclasses import dataclass, field

import jax.numpy as jnp

from mtc.losses.base import Loss
from mtc.losses.columns import full_precision, unit
from mtc.losses.infonce import InfoNCE
from mtc.types import Array, Embeddings


@dataclass
class Matryoshka(Loss):
  """The weighted sum of another loss, taken of the first `dims` dimensions, each time brought back to unit length.

  The vector [0.6, 0, 0.8] is [1, 0] at `dims=(2,)`. The dimensions share the scalars of the inner loss.

  Reference: arXiv 2205.13147 eq. 1. The numbers are those of MatryoshkaLoss of sentence-transformers 6.2.
  """

  loss: Loss = field(default_factory=InfoNCE)  # the loss of each prefix
  dims: tuple[int, ...] = ()  # name the full dimension too, or it is not trained
  weights: tuple[float, ...] = ()  # one for each of dims; () = 1 for each

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right, for dims over a known `dim`, and as the inner loss."""
    if not self.dims:
      known = dim or 512
      raise ValueError(
        f"dims of Matryoshka is empty; name the dimensions to train, e.g. ({known}, {max(known // 2, 1)})"
      )
    for size in self.dims:
      if size < 1 or size > (dim or size):
        raise ValueError(
          f"dims={self.dims} of Matryoshka: {size} is not from 1 to {dim or 'the width'}, the model's dimensions"
        )
    if len(set(self.dims)) < len(self.dims):
      raise ValueError(f"dims={self.dims} of Matryoshka has one twice; weigh it with `weights` instead")
    if self.weights and len(self.weights) != len(self.dims):
      raise ValueError(f"weights={self.weights} of Matryoshka do not match dims={self.dims}; give one for each, or ()")
    if not all(weight > 0 for weight in self.weights):
      raise ValueError(f"weights={self.weights} of Matryoshka are not all positive; leave out a dimension instead")
    for size in self.dims:
      self.loss.validate(size)

  @property
  def single(self) -> bool:
    """As the inner loss."""
    return self.loss.single

  def teacher_dim(self, dim: int) -> int:
    """What the inner loss needs for the largest of dims."""
    return self.loss.teacher_dim(max(self.dims))

  def negatives(self, local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array | None:
    """Those of the inner loss."""
    return self.loss.negatives(local, everyone, offset)

  def products(self, examples: int, hard: int, dim: int) -> int:
    """Those of the inner loss for each of dims."""
    return sum(self.loss.products(examples, hard, size) for size in self.dims)

  def parts(self) -> list[Loss]:
    """Those of the inner loss."""
    return self.loss.parts()

  def init(self) -> dict[str, Array]:
    """The scalars of the inner loss."""
    return self.loss.init()

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """f32[examples]; see `Loss`."""
    total = jnp.zeros((), full_precision(local.anchor).dtype)
    for size, weight in zip(self.dims, self.weights or (1.0,) * len(self.dims), strict=True):
      total += weight * self.loss(scalars, _shorten(local, size), _shorten(everyone, size), offset)
    return total


def _shorten(embeddings: Embeddings, dim: int) -> Embeddings:
  def shorten(x: Array) -> Array:
    return unit(x[..., :dim])

  positive, negatives = embeddings.positive, embeddings.negatives
  return embeddings.replace(
    anchor=shorten(embeddings.anchor),
    positive=None if positive is None else shorten(positive),
    negatives=None if negatives is None else shorten(negatives),
  )
