import numpy as np
import pytest
from sklearn import metrics

from mtc.evaluators import Labelled, SameLabelRetrieval


def made(rng, count=60, dim=4):
  """Signs, so that many cosines are exactly equal; one to three of 12 labels each."""
  texts = [str(i) for i in range(count)]
  labels = [[f"l{j}" for j in rng.choice(12, rng.integers(1, 4), replace=False)] for _ in range(count)]
  return Labelled(texts, labels), rng.choice([-1, 1], (count, dim))


def test_worked_example(numbered):
  # From 0 at 0 degrees: 1 at 10, 2 at 30, 3 at 90. 0 and 2 share a label, 1 and 3 another.
  angles = np.deg2rad([0, 10, 30, 90])
  table = Labelled(list("0123"), [["a"], ["b"], ["a"], ["b"]])
  scores = SameLabelRetrieval()(numbered(np.stack([np.cos(angles), np.sin(angles)], 1)), table)
  # 0 finds 1, 2: 1/2. 1 finds 0, 2, 3: 1/3. 2 finds 1, 0: 1/2. 3 finds 2, 1: 1/2.
  assert scores == pytest.approx({"map": (1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4, "precision@1": 0, "left_out": 0})
  assert next(iter(scores)) == "map"


def test_equals_scikit_learn_with_ties(numbered):
  table, vectors = made(np.random.default_rng(0))
  table.labels = [*table.labels[:-2], ["nobody else's"], ["l1", "l2", "its own"]]
  cosines = vectors @ vectors.T / 4
  precisions, nearest = [], []
  for i in range(len(vectors)):
    others = [j for j in range(len(vectors)) if j != i]
    relevant = [bool(set(table.labels[i]) & set(table.labels[j])) for j in others]
    if any(relevant):
      precisions.append(metrics.average_precision_score(relevant, cosines[i, others]))
      nearest.append(np.mean([r for r, j in zip(relevant, others) if cosines[i, j] == cosines[i, others].max()]))
  assert len(precisions) == 59
  scores = SameLabelRetrieval()(numbered(vectors), table)
  assert scores == pytest.approx({"map": np.mean(precisions), "precision@1": np.mean(nearest), "left_out": 1})


def test_neither_the_order_of_texts_nor_noise_in_the_last_bits_changes_anything(numbered):
  rng = np.random.default_rng(1)
  table, vectors = made(rng)
  order = rng.permutation(60)
  other = Labelled([table.texts[i] for i in order], [table.labels[i] for i in order])
  scores = SameLabelRetrieval()(numbered(vectors), table)
  assert SameLabelRetrieval()(numbered(vectors + 1e-6 * rng.normal(size=vectors.shape)), other) == pytest.approx(scores)


def test_a_language_is_the_mean_of_its_texts_among_all(numbered):
  table, vectors = made(np.random.default_rng(2), count=40)
  table.languages = ["de", "ja", "ja", ""] * 10
  scores = SameLabelRetrieval()(numbered(vectors), table)
  wanted = ["map", "precision@1", "map/de", "map/ja", "precision@1/de", "precision@1/ja", "left_out"]
  assert list(scores) == wanted
  cosines = vectors @ vectors.T / 4
  precisions = {"de": [], "ja": [], "": []}
  for i, language in enumerate(table.languages):
    others = [j for j in range(40) if j != i]
    relevant = [bool(set(table.labels[i]) & set(table.labels[j])) for j in others]
    if any(relevant):
      precisions[language].append(metrics.average_precision_score(relevant, cosines[i, others]))
  assert scores["map/de"] == pytest.approx(np.mean(precisions["de"]))
  assert scores["map/ja"] == pytest.approx(np.mean(precisions["ja"]))
  assert scores["map"] == pytest.approx(np.mean([value for values in precisions.values() for value in values]))


def test_a_limit_draws_texts_by_the_seed():
  table, vectors = made(np.random.default_rng(3))
  vectors = vectors.astype(np.float32)
  table.languages = ["de"] * 30 + ["ja"] * 30
  seen = {}

  def scores_of(seed):
    def encode(texts, role="document"):
      seen[seed] = texts
      return vectors[[int(text) for text in texts]]

    return SameLabelRetrieval(limit=20, seed=seed)(encode, table)

  first = scores_of(0)
  kept = seen[0]
  assert len(set(kept)) == 20
  assert scores_of(0) == first and seen[0] == kept
  scores_of(1)
  assert seen[1] != kept
  rows = [int(text) for text in kept]
  alone = Labelled([str(i) for i in range(20)], [table.labels[i] for i in rows], [table.languages[i] for i in rows])
  whole = SameLabelRetrieval()(lambda texts, role="document": vectors[[rows[int(text)] for text in texts]], alone)
  assert whole == pytest.approx(first)


def test_bad_input(numbered):
  with pytest.raises(ValueError, match="no two of 2 texts share a label"):
    SameLabelRetrieval()(numbered(np.eye(2)), Labelled(["0", "1"], [["a"], ["b"]]))
  with pytest.raises(ValueError, match="limit=-1 is negative; use 0 for all"):
    SameLabelRetrieval(limit=-1)(numbered(np.eye(2)), Labelled(["0", "1"], [["a"], ["a", "b"]]))
