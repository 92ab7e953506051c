"""BM25 as an encoder: what a search engine of words finds, beside which a trained model has to show its worth."""

from collections import Counter
from collections.abc import Sequence
import dataclasses
import logging
import re

import numpy as np
from scipy import sparse

from mtc.evaluators.encoder import TextEncoder, Vectors

_WORD = re.compile(r"\b\w\w+\b")  # as scikit-learn's and bm25s's words


@dataclasses.dataclass
class BM25:
  """Words weighted as Lucene does, by bm25s, for tables of queries and documents.

  A document's weights sum up to its score where they stand for words of the query, so the score is an inner product;
  and one more coordinate, which no query has, brings all documents to one length, so that the cosine ranks as the score
  does.

  Attributes:
    k1: how soon further occurrences of a word count no more.
    b: how much long documents are held against themselves; 0 = not at all.

  Reference: arXiv 2407.03618 for bm25s, and Bachrach et al. (RecSys 2014), section 3.2, for the coordinate.
  """

  k1: float = 1.5
  b: float = 0.75

  def fit(self, documents: Sequence[str]) -> TextEncoder:
    """An encoder of these documents, and of any text in the role "query".

    Its `encode` raises ValueError for a document that is none of these: BM25 has weights for a collection only.

    Raises:
      ValueError: documents without a single word.
    """
    import bm25s  # training never needs it

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of every index

    texts = list(dict.fromkeys(documents))
    words = _words(texts)
    if not any(words):
      raise ValueError(f"none of {len(texts)} documents has a word of two letters or more, and BM25 knows words only")
    index = bm25s.BM25(k1=self.k1, b=self.b, method="lucene")
    index.index(words, show_progress=False)
    vocabulary = index.vocab_dict
    arrays = tuple(index.scores[name] for name in ("data", "indices", "indptr"))
    weights = sparse.csr_array(sparse.csc_array(arrays, shape=(len(texts), len(arrays[2]) - 1)))
    squares = weights.multiply(weights).sum(axis=1)
    rest = sparse.csr_array(np.sqrt(squares.max() - squares)[:, None])
    known: Vectors = sparse.csr_array(sparse.hstack([weights, rest]))
    rows = {text: row for row, text in enumerate(texts)}

    def encode(texts: Sequence[str], role: str = "document") -> Vectors:
      if role == "query":
        asked = [Counter(vocabulary[word] for word in text if word in vocabulary) for text in _words(texts)]
        ends = np.cumsum([0, *map(len, asked)])
        ids = np.fromiter((i for counted in asked for i in counted), np.int64, ends[-1])
        counts = np.fromiter((n for counted in asked for n in counted.values()), np.float32, ends[-1])
        return sparse.csr_array((counts, ids, ends), shape=(len(texts), known.shape[1]))
      if unknown := [text for text in texts if text not in rows]:
        raise ValueError(f"BM25 was not fitted on {len(unknown)} of {len(texts)} documents, {unknown[0][:80]!r} first")
      return known[[rows[text] for text in texts]]

    return encode


def _words(texts: Sequence[str]) -> list[list[str]]:
  return [_WORD.findall(text.lower()) for text in texts]
