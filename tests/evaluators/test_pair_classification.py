import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mtc.evaluators import Graded, PairClassification


def made(mteb, languages=()):
  pairs = mteb["pairs"]
  texts = [str(i) for i in range(160)]
  scores = [1.0 if positive else 0.0 for positive in pairs["positive"]]
  return Graded(texts[:80], texts[80:], scores, languages), np.array([*pairs["a"], *pairs["b"]])


def test_equals_mteb_and_scikit_learn_with_ties(mteb, numbered):
  table, vectors = made(mteb)
  cosines = (vectors[:80] * vectors[80:]).mean(axis=1)
  wanted = mteb["pairs"]["numbers"] | {"auc": roc_auc_score(table.scores, cosines)}
  scores = PairClassification()(numbered(vectors), table)
  assert list(scores) == ["ap", "auc", "accuracy", "f1"]
  assert len(set(cosines)) < 20
  assert scores == pytest.approx(wanted)


def test_rows_drawn_anew_are_measured_as_if_they_were_the_table(mteb, numbered):
  table, vectors = made(mteb)
  measured = PairClassification().measure(numbered(vectors), table)
  cosines, positive = (vectors[:80] * vectors[80:]).mean(axis=1), np.array(table.scores)
  for seed in range(5):
    rows = np.random.default_rng(seed).integers(0, 80, 30)
    found = measured.measure(rows)
    assert found["ap"] == pytest.approx(average_precision_score(positive[rows], cosines[rows]))
    assert found["auc"] == pytest.approx(roc_auc_score(positive[rows], cosines[rows]))
    drawn = Graded([table.a[i] for i in rows], [table.b[i] for i in rows], positive[rows].tolist())
    assert PairClassification()(numbered(vectors), drawn) == pytest.approx(found)
  assert set(measured.measure(np.flatnonzero(positive)).values()) == {0.0}, "without a negative pair nothing is told"


def test_a_language_has_its_own_thresholds_and_scores_are_cut_where_it_is_said(numbered):
  # German: all positive pairs are nearer than the others; Japanese: so too, but all of them are nearer than German.
  angles = np.deg2rad([60, 70, 80, 85, 0, 10, 20, 30])
  vectors = np.concatenate([np.tile([1.0, 0.0], (8, 1)), np.stack([np.cos(angles), np.sin(angles)], 1)])
  texts = [str(i) for i in range(16)]
  table = Graded(texts[:8], texts[8:], [5, 4, 3, 0] * 2, ["de"] * 4 + ["ja"] * 4)
  scores = PairClassification(positive_from=4)(numbered(vectors), table)
  for metric in ("ap", "auc", "accuracy", "f1"):
    assert scores[f"{metric}/de"] == scores[f"{metric}/ja"] == 1 and scores[metric] < 1
  assert PairClassification(positive_from=3)(numbered(vectors), table)["accuracy"] == pytest.approx(7 / 8)


def test_a_collapsed_encoder_has_no_threshold():
  table = Graded(list("abc"), list("def"), [0, 1, 1])
  scores = PairClassification()(lambda texts, role="document": np.ones((6, 2)), table)
  assert scores == pytest.approx({"ap": 2 / 3, "auc": 0.5, "accuracy": 0, "f1": 0})


def test_bad_input(mteb, numbered):
  table, vectors = made(mteb)
  with pytest.raises(ValueError, match="0 of 80 pairs have a score of 4 or more; pair classification takes both kinds"):
    PairClassification(positive_from=4)(numbered(vectors), table)
  table = Graded(["0", "1", "2", "3"], ["4", "5", "6", "7"], [0, 1, 0.1, 0.2], ["de", "de", "ja", "ja"])
  with pytest.raises(ValueError, match="0 of 2 pairs in 'ja' have a score of 0.5 or more"):
    PairClassification()(numbered(vectors), table)
