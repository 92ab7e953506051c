"""What every loss is."""

from typing import Protocol, runtime_checkable

from mtc.types import Array, Embeddings


@runtime_checkable
class Loss(Protocol):
  """A plain dataclass whose fields say how examples are scored.

  It knows neither the model nor the devices; where columns travel in a ring, `parallel` sends them.
  """

  @property
  def single(self) -> bool:
    """Whether it can score single texts, which have no positive."""
    ...

  def init(self) -> dict[str, Array]:
    """The learnable scalars, f32[], by name; {} when there are none."""
    ...

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right for embeddings of `dim` dimensions; 0 = not yet known."""
    ...

  def teacher_dim(self, dim: int) -> int:
    """The fewest dimensions that a teacher's vectors may have for embeddings of `dim`; 0 = no teacher is needed."""
    ...

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """Scores the examples of one device.

    Args:
      scalars: as `init` gave them, or as training has changed them.
      local: the examples of this device, unit vectors.
      everyone: the examples of all devices; row `i` of `local` is its row `offset + i`.
      offset: i32[], may be traced.

    Returns:
      f32[examples] (f64 for f64 vectors), a loss for each row of `local`. A row of weight 0 has a finite loss and
      changes no other row's; to leave it out of the mean is the caller's part.
    """
    ...

  def negatives(self, local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array | None:
    """Counts what each example is contrasted with, after masking; with 0 everywhere there is nothing to learn.

    Args:
      local, everyone, offset: as of `__call__`. The content of the vectors does not matter, only their shapes.

    Returns:
      i32[examples]; or None for a loss that scores an example by itself.
    """
    ...
