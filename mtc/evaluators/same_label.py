"""Same-label retrieval: are the texts of one story each other's nearest?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.labels import label_matrix, label_names
from mtc.evaluators.metrics import Measured, average_precision, means, subset
from mtc.evaluators.similarity import similarity_blocks
from mtc.evaluators.tables import Labelled


@dataclasses.dataclass
class SameLabelRetrieval(Evaluator):
  """Each text asks all other texts of the table for those that share a label with it; reference texts play no part.

  Texts whose labels no other text has are not asked, but can be found.

  Attributes:
    limit: texts at most, drawn by `seed`; 0 takes all.
    seed: of the draw.
  """

  limit: int = 4000
  seed: int = 0

  def measure(self, encode: TextEncoder, table: Labelled) -> Measured:
    """`map` first, then `precision@1`, each from 0 to 1, both by language of the asking text; then `left_out`, a count.

    Raises:
      ValueError: no two texts share a label.
    """
    chosen = subset(len(table.texts), self.limit, self.seed)
    labels = [table.labels[index] for index in chosen]
    bears = label_matrix(labels, label_names(labels))
    rows = vectors(encode, [table.texts[index] for index in chosen])

    asked, precisions, nearest = [], [], []
    for block, scores in similarity_blocks(rows, rows):
      shares = (bears[block] @ bears.T).toarray() > 0
      for row, score, relevant in zip(block, scores, shares, strict=True):
        score, relevant = np.delete(score, row), np.delete(relevant, row)
        if relevant.any():
          asked.append(table.languages[chosen[row]])
          precisions.append(average_precision(score, relevant))
          nearest.append(relevant[score == score.max()].mean())  # of equally near texts, the share that is right
    if not asked:
      raise ValueError(f"no two of {len(chosen)} texts share a label, so nothing can be found; is it the right field?")
    values = {"map": np.array(precisions), "precision@1": np.array(nearest)}
    return means(values, asked, {"left_out": float(len(chosen) - len(asked))})
