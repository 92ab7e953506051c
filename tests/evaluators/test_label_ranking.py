import numpy as np
import pytest
from sklearn import metrics

from mtc.evaluators import Labelled, LabelRanking


def made(rng, test=40, reference=80, dim=4):
  """Signs, so that many sums are equal; one to three of 9 labels each, of which the last few are rare."""
  often = np.array([8, 8, 8, 8, 4, 4, 1, 1, 1]) / 43
  texts = [str(i) for i in range(test + reference)]
  labels = [[f"l{j}" for j in rng.choice(9, rng.integers(1, 4), replace=False, p=often)] for _ in texts]
  table = Labelled(texts[:test], labels[:test], (), texts[test:], labels[test:])
  return table, rng.choice([-1, 1], (test + reference, dim))


def test_worked_example(numbered):
  # Cosines of text 0 with the reference: 1, 0.8, 0.6, 0. Sums of the best two: a 1 + 0.6, b 0.8 + 0.6, c 0.
  vectors = [[1, 0], [1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]]
  reference = list("1234"), [["a"], ["b"], ["a", "b"], ["c"]]
  assert LabelRanking(k=2)(numbered(vectors), Labelled(["0"], [["b"]], (), *reference))["lrap"] == pytest.approx(1 / 2)
  assert LabelRanking(k=2)(numbered(vectors), Labelled(["0"], [["b", "c"]], (), *reference))["lrap"] == pytest.approx(
    (1 / 2 + 2 / 3) / 2
  )


@pytest.mark.parametrize("k", [1, 3, 1000])
def test_equals_scikit_learn_with_ties_and_rare_labels(numbered, k):
  table, vectors = made(np.random.default_rng(0))
  names = sorted({label for row in table.reference_labels for label in row})
  totals = np.zeros((40, len(names)))
  for i in range(40):
    for j, name in enumerate(names):
      cosines = [vectors[i] @ vectors[40 + r] / 4 for r in range(80) if name in table.reference_labels[r]]
      totals[i, j] = sum(sorted(cosines)[-k:])
  relevant = np.array([[name in row for name in names] for row in table.labels])
  wanted = metrics.label_ranking_average_precision_score(relevant, totals)
  assert LabelRanking(k=k)(numbered(vectors), table) == pytest.approx({"lrap": wanted, "left_out": 0})


def test_unknown_labels_are_dropped_and_texts_without_others_left_out_and_counted(numbered):
  table, vectors = made(np.random.default_rng(1))
  scores = LabelRanking()(numbered(vectors), table)
  other = Labelled(
    ["5", *table.texts, "6"],
    [["new"], *([*row, "new"] for row in table.labels), ["newer"]],
    (),
    table.reference_texts,
    table.reference_labels,
  )
  assert LabelRanking()(numbered(vectors), other) == scores | {"left_out": 2}


def test_a_language_is_the_mean_of_its_texts(numbered):
  table, vectors = made(np.random.default_rng(2))
  table.languages = ["de", "ja"] * 20
  table.labels = [["new"], *table.labels[1:]]
  scores = LabelRanking()(numbered(vectors), table)
  assert list(scores) == ["lrap", "lrap/de", "lrap/ja", "left_out"]
  for start, name in enumerate(("de", "ja")):
    alone = Labelled(table.texts[start::2], table.labels[start::2], (), table.reference_texts, table.reference_labels)
    assert LabelRanking()(numbered(vectors), alone)["lrap"] == pytest.approx(scores[f"lrap/{name}"])


def test_the_order_of_reference_texts_changes_nothing(numbered):
  table, vectors = made(np.random.default_rng(3))
  order = np.random.default_rng(4).permutation(80)
  other = Labelled(
    table.texts, table.labels, (), [table.reference_texts[i] for i in order], [table.reference_labels[i] for i in order]
  )
  assert LabelRanking()(numbered(vectors), other) == LabelRanking()(numbered(vectors), table)


def test_limits_draw_texts_and_reference_texts(numbered):
  table, vectors = made(np.random.default_rng(5))
  table.languages = ["de"] * 20 + ["ja"] * 20
  seen = []

  def encode(texts, role="document"):
    seen.append(list(texts))
    return numbered(vectors)(texts)

  scores = LabelRanking(limit=15, reference_limit=30)(encode, table)
  assert [len(set(texts)) for texts in seen] == [15 - scores["left_out"], 30]
  rows, reference = [int(text) for text in seen[0]], [int(text) - 40 for text in seen[1]]
  alone = Labelled(
    seen[0],
    [table.labels[i] for i in rows],
    [table.languages[i] for i in rows],
    seen[1],
    [table.reference_labels[i] for i in reference],
  )
  assert LabelRanking()(numbered(vectors), alone) | {"left_out": scores["left_out"]} == pytest.approx(scores)


def test_bad_input(numbered):
  table = Labelled(["0"], [["a"]], (), ["1"], [["b"]])
  with pytest.raises(ValueError, match=r"none of 1 texts has one of the 1 labels of 1 reference .* SameLabelRetrieval"):
    LabelRanking()(numbered(np.eye(2)), table)
  with pytest.raises(ValueError, match="k=0 of LabelRanking"):
    LabelRanking(k=0)(numbered(np.eye(2)), table)
