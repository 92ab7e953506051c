"""The base class of every loss."""

from mtc.types import Array, Embeddings


class Loss:
  """Scores the embeddings of a task's examples. A loss is a dataclass whose fields say how.

  A new loss needs `__call__` only; the other methods have defaults. A loss knows neither the model nor the devices.
  """

  @property
  def single(self) -> bool:
    """Whether it can score single texts, which have no positive. By default it cannot."""
    return False

  def init(self) -> dict[str, Array]:
    """The learnable scalars, f32[], by name. By default there are none."""
    return {}

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right for embeddings of `dim` dimensions; 0 = not yet known."""

  def teacher_dim(self, dim: int) -> int:
    """The fewest dimensions that a teacher's vectors may have for embeddings of `dim`. By default 0: no teacher."""
    return 0

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
    raise NotImplementedError(f"{type(self).__name__} defines no __call__")

  def negatives(self, local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array | None:
    """Counts the texts that each example is contrasted with, after masking; with 0 everywhere nothing is learned.

    Args:
      local, everyone, offset: as of `__call__`. The content of the vectors does not matter, only their shapes.

    Returns:
      i32[examples]; or None, the default, for a loss that scores an example by itself.
    """
    return None

  def products(self, examples: int, hard: int, dim: int) -> int:
    """Counts the multiplications of a row with the texts that it is compared with; by default 0.

    Args:
      examples: of all devices.
      hard: hard negatives of each example.
      dim: of the embeddings.
    """
    return 0

  def parts(self) -> list["Loss"]:
    """The losses that it is made of; by default itself."""
    return [self]

  @property
  def without_negatives(self) -> str:
    """What is wrong with the data, and the remedy, where no example of a batch has a negative."""
    return (
      "all texts of a batch share a label, an id or a text with each other, and such texts are no negatives; give the "
      "task rows of other labels, positives that differ, or hard negatives"
    )
