"""A sum of losses: what several of them teach about the same examples, encoded once."""

from dataclasses import dataclass
import functools

import jax.numpy as jnp

from mtc.losses.base import Loss
from mtc.losses.columns import full_precision
from mtc.types import Array, Embeddings


@dataclass
class Sum(Loss):
  """The weighted sum of several losses of the same examples, whose texts are encoded once for all of them.

  `Sum((CosineRegression(), CoSENT()), weights=(2.0, 0.5))` is `2 CosineRegression + 0.5 CoSENT`, row by row.
  """

  losses: tuple[Loss, ...] = ()  # the losses to add
  weights: tuple[float, ...] = ()  # one for each of losses; () = 1 for each

  @property
  def single(self) -> bool:
    """Whether all of the losses can score single texts."""
    return all(loss.single for loss in self.losses)

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right, and as each of the losses."""
    if not self.losses:
      raise ValueError("losses of Sum is empty; name the losses to add, e.g. (EmbeddingDistillation(), InfoNCE())")
    if self.weights and len(self.weights) != len(self.losses):
      raise ValueError(
        f"weights={self.weights} of Sum do not match its {len(self.losses)} losses; give one for each, or ()"
      )
    if not all(weight > 0 for weight in self.weights):
      raise ValueError(f"weights={self.weights} of Sum are not all positive; leave out a loss instead")
    for loss in self.losses:
      loss.validate(dim)

  def teacher_dim(self, dim: int) -> int:
    """The most that one of the losses needs."""
    return max(loss.teacher_dim(dim) for loss in self.losses)

  def negatives(self, local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array | None:
    """The fewest that one of the losses has for each example; None where no loss contrasts anything."""
    counts = [loss.negatives(local, everyone, offset) for loss in self.losses]
    known = [count for count in counts if count is not None]
    return functools.reduce(jnp.minimum, known) if known else None

  def products(self, examples: int, hard: int, dim: int) -> int:
    """Those of all losses."""
    return sum(loss.products(examples, hard, dim) for loss in self.losses)

  def parts(self) -> list[Loss]:
    """The losses of the sum."""
    return [part for loss in self.losses for part in loss.parts()]

  def init(self) -> dict[str, Array]:
    """The scalars of all losses, under `NUMBER_NAME`: `0_log_scale` belongs to the first one."""
    return {f"{i}_{name}": value for i, loss in enumerate(self.losses) for name, value in loss.init().items()}

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """f32[examples]; see `Loss`."""
    total = jnp.zeros((), full_precision(local.anchor).dtype)
    for i, (loss, weight) in enumerate(zip(self.losses, self.weights or (1.0,) * len(self.losses), strict=True)):
      own = {name.removeprefix(f"{i}_"): value for name, value in scalars.items() if name.startswith(f"{i}_")}
      total += weight * loss(own, local, everyone, offset)
    return total
