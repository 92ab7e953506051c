"""Clustering: do the clusters that k-means finds without labels agree with the labels?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.labels import only_label
from mtc.evaluators.metrics import Measured, subset
from mtc.evaluators.tables import Labelled


@dataclasses.dataclass
class Clustering(Evaluator):
  """scikit-learn's MiniBatchKMeans with as many clusters as there are labels, as mteb does it; reference texts rest.

  Attributes:
    experiments: times that k-means is run, each with a seed one greater.
    limit: texts at most, drawn by `seed`; 0 takes all.
    seed: of the draw, and of the first run; 42 is mteb's.
  """

  experiments: int = 5
  limit: int = 4000
  seed: int = 42

  def measure(self, encode: TextEncoder, table: Labelled) -> Measured:
    """`v_measure` and `nmi`, from 0 to 1, the mean of the runs; then by language of clusters that know of none.

    The two are one number: the V-measure is the mutual information, normalised by the mean of the entropies.

    Raises:
      ValueError: a text with several labels, one label only in the table or in a language, or no run.
    """
    from sklearn.cluster import MiniBatchKMeans  # 1 s to import, and training never needs it

    if self.experiments < 1:
      raise ValueError(f"experiments={self.experiments} of Clustering is no run at all; use 1 or more")
    chosen = subset(len(table.texts), self.limit, self.seed)
    names, labels = np.unique(only_label([table.labels[index] for index in chosen], "Clustering"), return_inverse=True)
    languages = [table.languages[index] for index in chosen]
    runs: list[np.ndarray] = []

    def scores(rows: np.ndarray) -> dict[str, float]:
      agreement = float(np.mean([_v_measure(labels[rows], clusters[rows]) for clusters in runs]))
      return {"v_measure": agreement, "nmi": agreement}

    measured = Measured(scores, languages)
    for part, rows in measured.parts().items():
      if len(set(labels[rows])) < 2:
        raise ValueError(
          f"all {len(rows)} texts{f' in {part!r}' if part else ''} have the label {str(names[labels[rows[0]]])!r}; "
          "clusters are compared with two labels or more: use more texts, or drop the language"
        )
    rows = vectors(encode, [table.texts[index] for index in chosen])
    for seed in range(self.seed, self.seed + self.experiments):
      means = MiniBatchKMeans(len(names), batch_size=500, n_init="auto", random_state=seed)
      runs.append(np.asarray(means.fit(rows).labels_, np.int64))
    return measured


def _v_measure(labels: np.ndarray, clusters: np.ndarray) -> float:
  """scikit-learn's `v_measure_score` of i64[rows] and i64[rows], which takes ten times as long."""
  apart, both = _entropy(labels) + _entropy(clusters), _entropy(labels * (clusters.max() + 1) + clusters)
  return max(0.0, 2 * (apart - both) / apart) if apart else 1.0


def _entropy(values: np.ndarray) -> float:
  counts = np.bincount(values)
  share = counts[counts > 0] / len(values)
  return float(-(share * np.log(share)).sum())
