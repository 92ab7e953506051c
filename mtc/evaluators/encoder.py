"""The one thing that evaluators know of a model: texts go in, rows of unit length come out."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy import sparse

from mtc.evaluators.metrics import Measured
from mtc.files.npy import check_dtype

Vectors = Any  # f32[rows, dim]: an np.ndarray, or a sparse.csr_array, which SciPy does not annotate


class TextEncoder(Protocol):
  """Texts to rows of unit length: f32[texts, dim], or a sparse matrix of as many rows."""

  def __call__(self, texts: Sequence[str], role: str = "document") -> np.ndarray | sparse.csr_array: ...


@runtime_checkable
class Evaluator(Protocol):
  """Scores an encoder on a table of the shape that it knows. A new one says `measure`."""

  def measure(self, encode: TextEncoder, table: Any) -> Measured:
    """What was found, row by row: two encoders on one table give the same rows, so that they can be compared."""
    ...

  def texts(self, table: Any) -> list[str]:
    """The texts that it asks for beside those of the table, such as the names of labels."""
    return []

  def __call__(self, encode: TextEncoder, table: Any) -> dict[str, float]:
    """Metrics by name, the task's fixed one first; `metric/language` for each language where there are several."""
    return self.measure(encode, table).scores()


def vectors(encode: TextEncoder, texts: Sequence[str], role: str = "document") -> Vectors:
  """The encoder's rows in float32, brought to unit length; rows of zeros stay so.

  Vectors that were stored in half precision, or by a model that does not normalise, are thus compared by cosine too.

  Raises:
    ValueError: not one row for each text, rows of integers or of anything else that holds no coordinates, or rows that
      are not finite.
  """
  rows: Vectors = encode(texts, role=role)
  if not sparse.issparse(rows):
    rows = np.asarray(rows)
  if rows.ndim != 2 or rows.shape[0] != len(texts) or not rows.shape[1]:
    raise ValueError(f"the encoder returned shape {rows.shape} for {len(texts)} texts; expected [{len(texts)}, dim]")
  check_dtype("what the encoder returned", rows.dtype)
  if isinstance(rows, np.ndarray):
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinity, and reported below
      rows = rows.astype(np.float32, copy=False)
    norms = np.linalg.norm(rows, axis=1)
  else:
    rows = sparse.csr_array(rows, dtype=np.float32)
    norms = np.sqrt(rows.multiply(rows).sum(axis=1))
  bad = np.flatnonzero(~np.isfinite(norms))
  if bad.size:
    raise ValueError(
      f"{bad.size} of {len(texts)} vectors hold NaN or infinity, the first for text {bad[0]}: {texts[bad[0]][:80]!r}; "
      "check the file that they come from, or the model's weights, and its loss if it was just trained"
    )
  scale = 1 / np.where(norms > 0, norms, 1)
  return rows * scale[:, None] if isinstance(rows, np.ndarray) else sparse.csr_array(sparse.diags(scale) @ rows)
