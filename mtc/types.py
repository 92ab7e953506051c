"""The pytrees that packages exchange.

The shapes are those that one device sees. On the host, before a step is sent to the devices, every leaf has one more
leading axis, `[local_devices, ...]`.

A *slot* is the place of one text in a grid of tokens. A row holds up to `slots` texts; text `segment` (1, 2, ...) of
row `r` has slot `r * slots + segment - 1`. Slots without a text are empty: their embeddings are finite and never used.
"""

from typing import Any

from flax import struct
import jax
import numpy as np

Array = jax.Array | np.ndarray
PyTree = Any


class Tokens(struct.PyTreeNode):
  """A packed grid of tokens: several texts share a row, attention stays within a segment."""

  ids: Array  # i32[rows, length], 0 where there is padding
  segment: Array  # i32[rows, length], 1..slots within each row; 0 is padding
  position: Array  # i32[rows, length], counts from 0 within each text
  slots: int = struct.field(pytree_node=False)  # texts that a row can hold: static
  halved: int = struct.field(pytree_node=False, default=0)  # last rows without a text across their middle: static


class Batch(struct.PyTreeNode):
  """The examples of one task: which slots hold their texts, and what is known about them."""

  anchor: Array  # i32[examples], a slot
  positive: Array | None  # i32[examples], a slot; None = single texts
  negatives: Array | None  # i32[examples, n], slots; -1 = no such negative
  keys: Array  # i32[examples, m], hashes of texts, ids and labels; -1 = none
  negative_keys: Array | None  # i32[examples, n]; -1 = none
  score: Array | None  # f32[examples]
  weight: Array  # f32[examples], 1; or 0 = filler
  teacher: Array | None = None  # f32[examples, 2 + n, k], of anchor, positive and negatives; zeros = no such text
  # (single texts: f32[examples, 1, k])


class Step(struct.PyTreeNode):
  """The input of one training step: one grid of tokens for all tasks of the step."""

  tokens: Tokens
  tasks: dict[str, Batch]

  def examples(self) -> int:
    """How many there are, fillers not counted; of host arrays."""
    return sum(int(np.sum(task.weight)) for task in self.tasks.values())


class Masked(struct.PyTreeNode):
  """The input of one step of masked language modelling: a grid with gaps, and what was there."""

  tokens: Tokens
  place: Array  # i32[rows, gaps], columns of the grid
  target: Array  # i32[rows, gaps], token ids
  weight: Array  # f32[rows, gaps], 1; or 0 = no gap

  def examples(self) -> int:
    """How many texts there are; of host arrays."""
    return int(np.sum(np.max(self.tokens.segment, axis=-1)))


class Embeddings(struct.PyTreeNode):
  """The examples of one task as vectors of unit length, in float32."""

  anchor: Array  # f32[examples, dim]
  positive: Array | None  # f32[examples, dim]; None = single texts
  negatives: Array | None  # f32[examples, n, dim]
  negative_mask: Array | None  # bool[examples, n], True = there is such a negative
  keys: Array  # i32[examples, m]
  negative_keys: Array | None  # i32[examples, n]
  score: Array | None  # f32[examples]
  weight: Array  # f32[examples]
  teacher: Array | None = None  # f32[examples, 2 + n, k], a teacher's unit vectors, in that order; zeros = no such text
  # (single texts: f32[examples, 1, k])


class TrainState(struct.PyTreeNode):
  """What a checkpoint holds. Data only: the functions that use it are made from the config."""

  step: Array  # i32[], the number of steps taken
  skipped: Array  # i32[], how many of them applied no update because loss or gradient was not finite
  params: PyTree  # {"encoder": ..., "tasks": {name: the loss's scalars}}
  opt_state: PyTree
  balancing: PyTree = struct.field(default_factory=dict)  # what `Experiment.balancing` has learned; {} = nothing
