"""Cosines of all queries with all documents, in blocks, so that memory does not grow with their product."""

from collections.abc import Iterator

import numpy as np

from mtc.evaluators.encoder import Vectors

# Cosines are compared in whole units of 1e-5. A text's vector differs in its last bits with the texts encoded beside
# it, the device and the dtype: two copies of a text are to tie, not to be ranked by that noise.
UNITS = 100_000
_BLOCK = 2**22  # cosines at a time: 16 MiB, and 32 MiB more where they are ranked


def cosines(a: Vectors, b: Vectors) -> np.ndarray:
  """The cosine of each row of `a` [n, dim] with the same row of `b` [n, dim], in units of 1e-5: i32[n]."""
  return np.rint((a * b).sum(axis=1) * UNITS).astype(np.int32)


def similarity_blocks(
  queries: Vectors, documents: Vectors, block: int = _BLOCK
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields the rows of a block of queries, [size], and their cosines in units of 1e-5, i32[size, documents]."""
  size = max(1, block // max(1, documents.shape[0]))
  for start in range(0, queries.shape[0], size):
    scores = _units(queries[start : start + size], documents)
    yield np.arange(start, start + scores.shape[0]), scores


def top_k(queries: Vectors, documents: Vectors, k: int, rows: int = 1024, columns: int = 4096) -> np.ndarray:
  """The `k` documents nearest to each query, best first, i64[queries, min(k, documents)]; of equals the first wins.

  Example: one query with cosines (0.5, 0.9, 0.5) and k=2 finds [[1, 0]].

  Args:
    queries: [queries, dim]
    documents: [documents, dim]
    k: how many.
    rows: queries at a time.
    columns: documents at a time; all that is kept of them are those that may be among the k.
  """
  count = documents.shape[0]
  k = min(k, count)
  found = np.empty((queries.shape[0], k), np.int64)
  for start in range(0, queries.shape[0], rows):
    block = queries[start : start + rows]
    # Documents as cosine * count + their number from the end: no two are equal, so partition and sort are exact.
    best = np.empty((block.shape[0], 0), np.int64)
    for first in range(0, count, columns):
      scores = _units(block, documents[first : first + columns])
      last = count - 1 - first
      if best.shape[1] < k:
        more = scores.astype(np.int64) * count + (last - np.arange(scores.shape[1]))
      else:
        more = _greater(scores, best.min(axis=1) // count, last, count)
      best = np.concatenate([best, more], axis=1)
      best = np.partition(best, -min(k, best.shape[1]), axis=1)[:, -k:]
    found[start : start + rows] = count - 1 - np.sort(best, axis=1)[:, ::-1] % count
  return found


def _greater(scores: np.ndarray, least: np.ndarray, last: int, count: int) -> np.ndarray:
  """The scores [rows, columns] over the least [rows] of their row, as top_k writes them, filled up with worse ones."""
  row, column = np.divmod(np.flatnonzero(scores > least[:, None]), scores.shape[1])
  width = np.bincount(row, minlength=len(least))
  found = np.full((len(least), width.max()), np.iinfo(np.int64).min)
  found[row, np.arange(len(row)) - np.repeat(np.cumsum(width) - width, width)] = scores[row, column].astype(
    np.int64
  ) * count + (last - column)
  return found


def _units(queries: Vectors, documents: Vectors) -> np.ndarray:
  """The cosines of all with all, in units of 1e-5: i32[queries, documents]."""
  products = queries @ documents.T
  if not isinstance(products, np.ndarray):
    products = products.toarray()
  products *= UNITS
  return np.rint(products, out=products).astype(np.int32)
