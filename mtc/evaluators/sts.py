"""Graded similarity: do cosines order pairs of texts as people do?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.metrics import Measured
from mtc.evaluators.similarity import cosines
from mtc.evaluators.tables import Graded


@dataclasses.dataclass
class STS(Evaluator):
  """Correlation of the cosine of each pair with its score."""

  def measure(self, encode: TextEncoder, table: Graded) -> Measured:
    """`spearman` first, then `pearson`, each from -1 to 1; then by language. Where one side is constant, 0."""
    from scipy import stats  # 1.5 s to import

    rows = vectors(encode, [*table.a, *table.b])
    found = cosines(rows[: len(table.a)], rows[len(table.a) :])
    wanted = np.asarray(table.scores, np.float64)

    def correlations(pairs: np.ndarray) -> dict[str, float]:
      a, b = found[pairs], wanted[pairs]
      if len(set(a)) < 2 or len(set(b)) < 2:  # undefined; JSON knows no NaN, and a collapsed model has earned nothing
        return {"spearman": 0.0, "pearson": 0.0}
      ranks = stats.rankdata(a), stats.rankdata(b)
      return {"spearman": float(np.corrcoef(*ranks)[0, 1]), "pearson": float(np.corrcoef(a, b)[0, 1])}

    return Measured(correlations, table.languages)
