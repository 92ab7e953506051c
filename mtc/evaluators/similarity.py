"""Cosines of all queries with all documents, in blocks of queries, so that memory does not grow with their product."""

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
    products = queries[start : start + size] @ documents.T
    if not isinstance(products, np.ndarray):
      products = products.toarray()
    products *= UNITS
    yield np.arange(start, start + products.shape[0]), np.rint(products, out=products).astype(np.int32)


def top_k(queries: Vectors, documents: Vectors, k: int) -> np.ndarray:
  """The `k` documents nearest to each query, best first, i64[queries, min(k, documents)]; of equals the first wins.

  Example: one query with cosines (0.5, 0.9, 0.5) and k=2 finds [[1, 0]].
  """
  count = documents.shape[0]
  k = min(k, count)
  found = np.empty((queries.shape[0], k), np.int64)
  for rows, scores in similarity_blocks(queries, documents):
    order = scores.astype(np.int64) * count - np.arange(count)  # no two are equal, so partition and sort are exact
    best = np.argpartition(order, count - k, axis=1)[:, count - k :]
    best_first = np.argsort(-np.take_along_axis(order, best, axis=1), axis=1)
    found[rows] = np.take_along_axis(best, best_first, axis=1)
  return found
