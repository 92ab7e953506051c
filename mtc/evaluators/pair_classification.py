"""Pair classification: do cosines tell pairs that belong together from pairs that do not?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.metrics import Measured
from mtc.evaluators.similarity import cosines
from mtc.evaluators.tables import Graded


@dataclasses.dataclass
class PairClassification(Evaluator):
  """A pair counts as positive from a score on; every threshold on its cosine is tried, as mteb does it.

  Attributes:
    positive_from: the least score of a positive pair, on the scale of the table, which is 0 to 1 for data of `Scored`.
  """

  positive_from: float = 0.5

  def measure(self, encode: TextEncoder, table: Graded) -> Measured:
    """`ap` first, the average precision, then `auc`, best `accuracy` and best `f1`, all from 0 to 1; then by language.

    The best thresholds lie between two different cosines, and are those of each language.

    Raises:
      ValueError: the table, or a language of it, has no positive pair or no negative one.
    """
    rows = vectors(encode, [*table.a, *table.b])
    found = cosines(rows[: len(table.a)], rows[len(table.a) :])
    order = np.argsort(-found, kind="stable")
    positive = np.asarray(table.scores, np.float64) >= self.positive_from
    last = np.flatnonzero(np.append(np.diff(found[order]) != 0, True))  # of the pairs with one cosine

    def scores(pairs: np.ndarray) -> dict[str, float]:
      times = np.bincount(pairs, minlength=len(order))[order]
      accepted, hits = np.cumsum(times)[last], np.cumsum(times * positive[order])[last]
      return _curves(accepted, hits)

    measured = Measured(scores, table.languages)
    for part, pairs in measured.parts().items():
      if not 0 < (count := positive[pairs].sum()) < len(pairs):
        raise ValueError(
          f"{count} of {len(pairs)} pairs{f' in {part!r}' if part else ''} have a score of {self.positive_from} or "
          "more; pair classification takes both kinds: set positive_from, or drop the language"
        )
    return measured


def _curves(accepted: np.ndarray, hits: np.ndarray) -> dict[str, float]:
  """The metrics of pairs, and of positive ones among them, that each threshold accepts, the strictest first."""
  total, positives = int(accepted[-1]), int(hits[-1])
  negatives, misses = total - positives, accepted - hits
  if not positives or not negatives:  # of rows drawn again
    return {"ap": 0.0, "auc": 0.0, "accuracy": 0.0, "f1": 0.0}
  gained, before = np.diff(hits, prepend=0), np.append(0, hits[:-1])
  tried = (accepted > 0) & (accepted < total)
  return {
    "ap": float((gained * hits / np.maximum(accepted, 1)).sum() / positives),
    "auc": float((np.diff(misses, prepend=0) * (hits + before)).sum() / (2 * positives * negatives)),
    "accuracy": float(((hits + negatives - misses) / total).max(where=tried, initial=0)),
    "f1": float((2 * hits / (accepted + positives)).max(where=tried, initial=0)),
  }
