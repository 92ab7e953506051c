"""Texts in batches that fit into the memory, be they words or books."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def batches(items: Iterable[Item], most: int, letters: int, size: Callable[[Any], int] = len) -> Iterator[list[Item]]:
  """Lists of at most `most` items; of fewer, but at least one, where they have more than `letters` together.

  Example: the texts "ab", "c", "def" with most=2 and letters=3 are ["ab", "c"], ["def"].

  Args:
    items: in order.
    most: items of a list.
    letters: of a list.
    size: of an item, in letters.
  """
  batch, held = [], 0
  for item in items:
    if batch and (len(batch) == most or held + size(item) > letters):
      yield batch
      batch, held = [], 0
    batch.append(item)
    held += size(item)
  if batch:
    yield batch
