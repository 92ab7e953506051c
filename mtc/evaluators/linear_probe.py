"""A linear probe: how well does a logistic regression on a few labelled texts classify the others?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.labels import label_matrix, label_names, only_label
from mtc.evaluators.metrics import Measured, macro_f1, subset
from mtc.evaluators.tables import Labelled


@dataclasses.dataclass
class LinearProbe(Evaluator):
  """scikit-learn's LogisticRegression on a few reference texts of each label, drawn several times, as mteb does it.

  Attributes:
    samples_per_label: reference texts of each label that a probe learns from; 0 takes all, and one probe is enough.
    experiments: probes, each on other texts.
    limit: texts at most, drawn by `seed`; 0 takes all.
    seed: of the draws; 42 is mteb's.
  """

  samples_per_label: int = 8
  experiments: int = 10
  limit: int = 0
  seed: int = 42

  def measure(self, encode: TextEncoder, table: Labelled) -> Measured:
    """`accuracy` first, then macro `f1`, each from 0 to 1 and the mean of the probes; then by language.

    Raises:
      ValueError: a text with several labels, no reference texts or these with one label only, or no probe.
    """
    from sklearn.linear_model import LogisticRegression  # 1 s to import, and training never needs it

    if self.experiments < 1 or self.samples_per_label < 0:
      raise ValueError(
        f"{self} has no probe, or learns from a negative number of texts; use 1 or more, or 0 texts for all"
      )
    chosen = subset(len(table.texts), self.limit, self.seed)
    labels = only_label([table.labels[index] for index in chosen], "LinearProbe")
    known = np.array(only_label(table.reference_labels, "LinearProbe"))
    if len(set(known)) < 2:
      raise ValueError(
        f"the {len(known)} reference texts of LinearProbe have {len(set(known))} labels; a probe needs two or more: "
        'name a split with labels, as in Evaluation(..., reference="train")'
      )
    drawn = self._draws(known)
    used = np.unique(np.concatenate(drawn))  # the others need not be encoded
    rows = vectors(encode, [table.texts[index] for index in chosen])
    reference = vectors(encode, [table.reference_texts[index] for index in map(int, used)])

    guesses = []
    for draw in drawn:
      probe = LogisticRegression(max_iter=100).fit(reference[np.searchsorted(used, draw)], known[draw])
      guesses.append(probe.predict(rows))
    right = np.mean([guess == np.array(labels) for guess in guesses], axis=0)
    names = label_names([labels, known.tolist()])
    truth = label_matrix([[label] for label in labels], names)
    f1s = [macro_f1(truth, label_matrix([[label] for label in guess], names)) for guess in guesses]

    def scores(rows: np.ndarray) -> dict[str, float]:
      return {"accuracy": float(right[rows].mean()), "f1": float(np.mean([f1(rows) for f1 in f1s]))}

    return Measured(scores, [table.languages[index] for index in chosen], values={"accuracy": right})

  def _draws(self, labels: np.ndarray) -> list[np.ndarray]:
    """Of each experiment, the rows that it learns from: the first of each label in an order that is shuffled on."""
    order, draws = np.arange(len(labels)), []
    for _ in range(self.experiments):
      np.random.RandomState(self.seed).shuffle(order)  # the same shuffle again, of what the last one left: mteb's
      draws.append(order[_occurrence(labels[order]) < (self.samples_per_label or len(labels))])
    return draws


def _occurrence(labels: np.ndarray) -> np.ndarray:
  """How many equal labels come before each; (a, b, a, a) is (0, 0, 1, 2)."""
  order = np.argsort(labels, kind="stable")
  begins = np.flatnonzero(np.append(True, labels[order][1:] != labels[order][:-1]))
  counts = np.empty(len(labels), np.int64)
  counts[order] = np.arange(len(labels)) - np.repeat(begins, np.diff(np.append(begins, len(labels))))
  return counts
