"""What every evaluator keeps, so that two encoders can be compared on rows drawn anew."""

import numpy as np
import pytest

from mtc.evaluators import (
  KNN,
  STS,
  Clustering,
  CrossLingualRetrieval,
  Graded,
  Labelled,
  LabelRanking,
  LinearProbe,
  MultiLabelKNN,
  PairClassification,
  Parallel,
  Retrieval,
  SameLabelRetrieval,
  Search,
  TranslationMatching,
  ZeroShot,
  differences,
)

TEXTS = [str(i) for i in range(60)]
LANGUAGES = ["de", "ja"] * 30


def one_label():
  return Labelled(TEXTS, [[f"l{i % 3}"] for i in range(60)], LANGUAGES, TEXTS, [[f"l{i % 3}"] for i in range(60)])


def several_labels():
  labels = [[f"l{i % 3}", "both"][: 1 + i % 2] for i in range(60)]
  return Labelled(TEXTS, labels, LANGUAGES, TEXTS, labels)


def search():
  qrels = {str(i): {str(i): 1, str((7 * i) % 60): 2} for i in range(60)}
  return Search(dict(zip(TEXTS, TEXTS)), dict(zip(TEXTS, TEXTS)), qrels, dict(zip(TEXTS, LANGUAGES)))


def graded():
  return Graded(TEXTS, [str(11 * i % 60) for i in range(60)], [float(i % 5) for i in range(60)], LANGUAGES)


def translations():
  return Parallel([str(i // 2) for i in range(60)], TEXTS, LANGUAGES)


CASES = [
  (KNN(), one_label),
  (LinearProbe(experiments=2), one_label),
  (ZeroShot(), one_label),
  (Clustering(experiments=2), one_label),
  (MultiLabelKNN(), several_labels),
  (LabelRanking(), several_labels),
  (SameLabelRetrieval(), several_labels),
  (Retrieval(), search),
  (CrossLingualRetrieval(by_answer=True), search),
  (STS(), graded),
  (PairClassification(2), graded),
  (TranslationMatching(), translations),
]


def by_role(texts, role="document"):
  """A vector for each text and role that has something to do with its labels, its pair and its translation."""
  rows = []
  for text in texts:
    number = int(text) if text.isdigit() else sum(map(ord, text))
    rng = np.random.default_rng(number)
    rows.append(np.eye(8)[number % 3] + 0.5 * np.eye(8)[3 + number // 2 % 5] + 0.3 * rng.normal(size=8))
  return np.array(rows) + 0.1 * (role == "query")


@pytest.mark.parametrize("evaluator, table", CASES, ids=[type(case[0]).__name__ for case in CASES])
def test_all_rows_give_the_scores_and_each_row_twice_too(evaluator, table):
  table = table()
  measured = evaluator.measure(by_role, table)
  scores, count = evaluator(by_role, table), len(measured.languages)
  whole = {name: value for name, value in scores.items() if "/" not in name and name not in measured.counts}
  assert all(0 < abs(value) <= 1 for value in whole.values())
  assert min(whole.values()) < 1, "a perfect score would tell nothing"
  assert measured.measure(np.arange(count)) == pytest.approx(whole)
  twice = np.random.default_rng(0).permutation(np.repeat(np.arange(count), 2))
  assert measured.measure(twice) == pytest.approx(whole)
  found = differences(measured, measured, resamples=20)
  assert list(found) == [name for name in scores if name not in measured.counts]
  assert all(difference.verdict == "kept" and difference.low == difference.high == 0 for difference in found.values())
