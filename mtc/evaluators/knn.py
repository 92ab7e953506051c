"""Nearest neighbours: do the training texts around a text bear its label, or its labels?"""

import dataclasses

import numpy as np
from scipy import sparse

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.labels import label_matrix, label_names
from mtc.evaluators.metrics import Measured, macro_f1, one_guess, subset
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
    """`accuracy` first, then macro `f1`, each from 0 to 1; then by language.

    A text gets one guess, so for `f1` all but one of its labels are missed; MultiLabelKNN guesses several.

    Raises:
      ValueError: `k` is not between 1 and the number of reference texts.
    """
    names = label_names([*table.labels, *table.reference_labels])
    truth, votes, languages = _votes(self, encode, table, names)
    guesses = label_matrix([[names[guess]] for guess in np.ravel(votes.argmax(axis=1))], names)
    return one_guess(truth, guesses, languages)


@dataclasses.dataclass
class MultiLabelKNN(Evaluator):
  """A text is given every label that more than half of its `k` nearest reference texts bear, as mteb does it.

  Attributes:
    k: neighbours.
    limit: texts at most, drawn by `seed`; 0 takes all.
    reference_limit: reference texts at most, drawn by `seed`; 0 takes all.
    seed: of the draws.
  """

  k: int = 5
  limit: int = 0
  reference_limit: int = 0
  seed: int = 0

  def measure(self, encode: TextEncoder, table: Labelled) -> Measured:
    """Macro `f1` first, then `accuracy`, the share of texts with all labels right; each from 0 to 1; then by language.

    Labels that no text bears play no part; one that no reference text bears is never guessed.

    Raises:
      ValueError: `k` is not between 1 and the number of reference texts.
    """
    truth, votes, languages = _votes(self, encode, table, label_names(table.labels))
    guesses = votes.copy()
    guesses.data = (votes.data > self.k / 2).astype(np.int32)
    right, f1 = abs(truth - guesses).sum(axis=1) == 0, macro_f1(truth, guesses)
    return Measured(lambda rows: {"f1": f1(rows), "accuracy": float(right[rows].mean())}, languages)


def _votes(
  knn: KNN | MultiLabelKNN, encode: TextEncoder, table: Labelled, names: list[str]
) -> tuple[sparse.csr_array, sparse.csr_array, list[str]]:
  """Of each text that is asked: its labels and those of its neighbours, counted, i32[texts, names]; its language."""
  chosen = subset(len(table.texts), knn.limit, knn.seed)
  reference = subset(len(table.reference_texts), knn.reference_limit, knn.seed)
  if not 1 <= knn.k <= len(reference):
    raise ValueError(
      f"k={knn.k} of {type(knn).__name__} is not between 1 and the number of reference texts, {len(reference)}"
    )
  found = top_k(
    vectors(encode, [table.texts[index] for index in chosen]),
    vectors(encode, [table.reference_texts[index] for index in reference]),
    knn.k,
  )
  near = sparse.csr_array(
    (np.ones(found.size, np.int32), found.ravel(), np.arange(0, found.size + 1, knn.k)),
    shape=(len(chosen), len(reference)),
  )
  votes = near @ label_matrix([table.reference_labels[index] for index in reference], names)
  return label_matrix([table.labels[index] for index in chosen], names), votes, [table.languages[i] for i in chosen]
