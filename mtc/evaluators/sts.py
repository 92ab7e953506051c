"""Graded similarity: do cosines order pairs of texts as people do?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.metrics import Measured, subset
from mtc.evaluators.similarity import cosines
from mtc.evaluators.tables import Graded


@dataclasses.dataclass
class STS(Evaluator):
  """Correlation of the cosine of each pair with its score.

  Attributes:
    limit: pairs at most, drawn by `seed`; 0 takes all.
    seed: of the draw.
  """

  limit: int = 0
  seed: int = 0

  def measure(self, encode: TextEncoder, table: Graded) -> Measured:
    """`spearman` first, then `pearson`, each from -1 to 1; then by language. Where one side is constant, 0."""
    from scipy import stats  # 1.5 s to import

    chosen = subset(len(table.a), self.limit, self.seed)
    rows = vectors(encode, [side[index] for side in (table.a, table.b) for index in chosen])
    found = cosines(rows[: len(chosen)], rows[len(chosen) :])
    wanted = np.asarray(table.scores, np.float64)[chosen]

    def correlations(pairs: np.ndarray) -> dict[str, float]:
      a, b = found[pairs], wanted[pairs]
      if len(set(a)) < 2 or len(set(b)) < 2:  # undefined; JSON knows no NaN, and a collapsed model has earned nothing
        return {"spearman": 0.0, "pearson": 0.0}
      ranks = stats.rankdata(a), stats.rankdata(b)
      return {"spearman": float(np.corrcoef(*ranks)[0, 1]), "pearson": float(np.corrcoef(a, b)[0, 1])}

    return Measured(correlations, [table.languages[index] for index in chosen])
