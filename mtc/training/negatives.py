"""How many negatives the examples of a task have once masking is applied: counted before the first step."""

from collections.abc import Iterator, Mapping
import functools
from typing import NamedTuple

from absl import logging
import jax
import numpy as np

from mtc import losses
from mtc.config import Task
from mtc.data import Draw, Prepared, Sampler
from mtc.types import Embeddings

_ROWS = 512  # of each batch that are counted, against all its columns
_BATCHES = 8  # that are counted
_MORE = 256  # batches that are searched where those have no negative


class Negatives(NamedTuple):
  """What the examples of a task are contrasted with, in the first batches of a run.

  Attributes:
    mean: negatives of an example.
    without: the share of the examples that have none, 0..1.
    batches: how many were looked at.
  """

  mean: float
  without: float
  batches: int


def count(
  tasks: Mapping[str, Task], prepared: Mapping[str, Prepared], sampler: Sampler, steps: int
) -> dict[str, Negatives | None]:
  """Counts the negatives of each task with the masks of its loss, and warns where most examples have none.

  Args:
    tasks: for their losses.
    prepared: the examples of each task.
    sampler: draws them.
    steps: of the run.

  Returns:
    An entry for each task; None for a loss that contrasts nothing, and for a task that no step holds.

  Raises:
    ValueError: no example of a task has a negative, so its loss could teach nothing.
  """
  held = sampler.mix(steps)
  found: dict[str, Negatives | None] = dict.fromkeys(tasks)
  for name, task in tasks.items():
    if held[name].steps:
      try:
        found[name] = _count(task.loss, prepared[name], sampler, name, held[name].steps)
      except ValueError as error:
        raise ValueError(f"task {name!r}: {error}") from None
  for name, one in found.items():
    if one and one.without > 0.5:
      logging.warning(
        "%.0f %% of the examples of task %r have no negative (in its first %d batches): the other texts of the batch "
        "share a label, an id or a text with them. They teach little; a larger batch_size or more varied rows help",
        100 * one.without,
        name,
        one.batches,
      )
  return found


def _count(loss: losses.Loss, prepared: Prepared, sampler: Sampler, name: str, batches: int) -> Negatives | None:
  counted = np.empty(0, np.int64)
  for looked, found in enumerate(_counts(loss, prepared, sampler, name, min(batches, _MORE)), 1):
    if found is None:
      return None
    counted = np.concatenate([counted, found])
    if looked >= min(batches, _BATCHES) and counted.any():
      return Negatives(float(counted.mean()), float(np.mean(counted == 0)), looked)
  raise ValueError(_message(loss, prepared, sampler, name, min(batches, _MORE)))


def _counts(
  loss: losses.Loss, prepared: Prepared, sampler: Sampler, name: str, batches: int
) -> Iterator[np.ndarray | None]:
  counted = jax.jit(functools.partial(loss.negatives, offset=0))
  for cursor in range(batches):
    examples = _examples(sampler.draw(name, cursor), prepared)
    found = counted(jax.tree.map(lambda x: x[:_ROWS], examples), examples)
    yield None if found is None else np.asarray(found)


def _examples(draw: Draw, prepared: Prepared) -> Embeddings:
  """The examples as a loss sees them, with vectors of one dimension: masks do not depend on them."""
  batch, negatives = len(draw.anchor), draw.negatives
  vector = np.zeros((batch, 1), np.float32)
  return Embeddings(
    anchor=vector,
    positive=None if draw.positive is None else vector,
    negatives=None if negatives is None else np.zeros((*negatives.shape, 1), np.float32),
    negative_mask=None if negatives is None else negatives >= 0,
    keys=draw.keys,
    negative_keys=draw.negative_keys,
    score=draw.score,
    weight=np.ones(batch, np.float32),
    teacher=None if prepared.teacher is None else prepared.teacher(draw.texts()),
  )


def _message(loss: losses.Loss, prepared: Prepared, sampler: Sampler, name: str, batches: int) -> str:
  size = len(sampler.draw(name, 0).anchor)
  # The count of a sum is the least of its losses: the one without a negative is named.
  without = next((one for one in loss.parts() if _has_none(one, prepared, sampler, name)), loss)
  if size == 1 or (size == 2 and prepared.positive is None and not len(prepared.labels)):
    cause = f"batch_size={size} leaves nothing to compare; use a larger one"
  else:
    cause = without.without_negatives
  return (
    f"no example has a negative for {type(without).__name__} in the first {batches} batches of {size}, so the loss "
    f"could teach nothing: {cause}"
  )


def _has_none(loss: losses.Loss, prepared: Prepared, sampler: Sampler, name: str) -> bool:
  found = next(_counts(loss, prepared, sampler, name, 1))
  return found is not None and not found.any()
