"""Grids of tokens from lists of token ids."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mtc.types import Tokens

Rows = Sequence[Sequence[Sequence[int]]]


@pytest.fixture(scope="session")
def grid() -> Callable[..., Tokens]:
  """`grid(rows, length, slots)`: each row is a list of texts, each text a list of token ids."""

  def make(rows: Rows, length: int, slots: int) -> Tokens:
    ids, segment, position = np.zeros((3, len(rows), length), np.int32)
    for row, texts in enumerate(rows):
      start = 0
      for number, text in enumerate(texts, start=1):
        stop = start + len(text)
        ids[row, start:stop], segment[row, start:stop], position[row, start:stop] = text, number, range(len(text))
        start = stop
    return Tokens(ids=ids, segment=segment, position=position, slots=slots)

  return make
