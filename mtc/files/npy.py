"""What counts as vectors, whatever they come from, and how they are opened in a `.npy` without reading them."""

from pathlib import Path
import tokenize

import numpy as np

FLOATS = ("float16", "float32", "float64")
_BROKEN = (ArithmeticError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError, tokenize.TokenError)
_REMEDIES = {  # packed bits and calibrated integers are what sentence-transformers makes with quantize_embeddings
  "uint8": (
    "of packed bits (ubinary) save 2.0 * np.unpackbits(a, axis=1) - 1, of calibrated integers "
    "a * (high - low) / 255 + low with the ranges low, high of the calibration"
  ),
  "int8": (
    "of packed bits (binary) save 2.0 * np.unpackbits(a.view(np.uint8) ^ 128, axis=1) - 1, of calibrated integers "
    "(a + 128.0) * (high - low) / 255 + low with the ranges low, high of the calibration"
  ),
  "bool": "of bits save np.where(a, 1.0, -1.0)",
  "void16": "NumPy stores bfloat16 as |V2, so save a.astype(np.float32)",
}


def check_dtype(what: str, dtype: np.dtype) -> None:
  """Raises ValueError, with the remedy, unless numbers of this dtype are coordinates; bits and integers are not.

  Args:
    what: has the dtype, for the message.
    dtype: in either byte order.
  """
  if dtype.name in FLOATS:
    return
  if dtype.kind in "iu":
    remedy = "save the vectors as they were before they became integers"
  else:
    remedy = "save a.astype(np.float32) if the numbers are real"
  if dtype.names is None:  # records have the name of their size
    remedy = _REMEDIES.get(dtype.name, remedy)
  raise ValueError(f"{what} has the dtype {dtype}; expected float16, float32 or float64: {remedy}")


def open_npy(path: str | Path) -> np.ndarray:
  """The vectors of a file, memory-mapped; their shape is not checked.

  Raises:
    ValueError: the file is no array, or its numbers are not coordinates.
    OSError: it cannot be read.
  """
  try:
    with np.errstate(over="ignore"):  # the bytes of a shape of 2 ** 62 rows; NumPy then sees that the file has fewer
      vectors = np.lib.format.open_memmap(path, mode="r")
  # Its header is Python, and what NumPy raises of a broken one is whatever its parts raise.
  except _BROKEN as error:
    raise ValueError(f"{path} is no array of numbers ({error}); write it with numpy.save") from error
  check_dtype(str(path), vectors.dtype)
  return vectors
