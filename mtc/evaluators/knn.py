"""Nearest neighbours: do the training texts around a text bear its label?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.labels import label_matrix, label_names
from mtc.evaluators.metrics import Measured, means, subset
from mtc.evaluators.similarity import top_k
from mtc.evaluators.tables import Labelled


@dataclasses.dataclass
class KNN(Evaluator):
  """The majority label of the `k` nearest reference texts is the guess; it is right if the text bears it.

  As scikit-learn's KNeighborsClassifier with uniform weights: a draw of votes goes to the label that sorts first, a
  draw of distances to the reference text that comes first. A neighbour with several labels votes for each.

  Attributes:
    k: neighbours.
    limit: texts at most, drawn by `seed`; 0 takes all.
    reference_limit: reference texts at most, drawn by `seed`; 0 takes all.
    seed: of the draws.
  """

  k: int = 10
  limit: int = 0
  reference_limit: int = 0
  seed: int = 0

  def measure(self, encode: TextEncoder, table: Labelled) -> Measured:
    """`accuracy`, from 0 to 1; then by language.

    Raises:
      ValueError: `k` is not between 1 and the number of reference texts.
    """
    chosen = subset(len(table.texts), self.limit, self.seed)
    reference = subset(len(table.reference_texts), self.reference_limit, self.seed)
    if not 1 <= self.k <= len(reference):
      raise ValueError(f"k={self.k} of KNN is not between 1 and the number of reference texts, {len(reference)}")
    labels = [table.reference_labels[index] for index in reference]
    names = label_names(labels)
    found = top_k(
      vectors(encode, [table.texts[index] for index in chosen]),
      vectors(encode, [table.reference_texts[index] for index in reference]),
      self.k,
    )
    bears = label_matrix(labels, names)
    votes = np.stack([bears[neighbours].sum(axis=0) for neighbours in found])
    guesses = votes.argmax(axis=1)
    right = [names[guess] in table.labels[index] for guess, index in zip(guesses, chosen, strict=True)]
    return means({"accuracy": np.array(right, np.float64)}, [table.languages[index] for index in chosen])
