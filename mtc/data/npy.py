"""Vectors in a `.npy`: opened without reading them, whoever wrote the file."""

from pathlib import Path
import tokenize

import numpy as np

_BROKEN = (ArithmeticError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError, tokenize.TokenError)


def open_npy(path: str | Path) -> np.ndarray:
  """The array, memory-mapped.

  Raises:
    ValueError: the file is no array of numbers.
    OSError: it cannot be read.
  """
  try:
    with np.errstate(over="ignore"):  # the bytes of a shape of 2 ** 62 rows; NumPy then sees that the file has fewer
      return np.lib.format.open_memmap(path, mode="r")
  # Its header is Python, and what NumPy raises of a broken one is whatever its parts raise.
  except _BROKEN as error:
    raise ValueError(f"{path} is no array of numbers ({error}); write it with numpy.save") from error
