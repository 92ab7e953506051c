import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from mtc.evaluators import KNN, Labelled, MultiLabelKNN


def made(rng, test=80, reference=120, dim=16, labels=5):
  """Vectors of rows 0..test-1 and of the reference texts behind them."""
  centres = rng.normal(size=(labels, dim))
  truth = rng.integers(0, labels, test + reference)
  vectors = centres[truth] + 2 * rng.normal(size=(test + reference, dim))
  texts, names = [str(i) for i in range(test + reference)], [[f"l{t}"] for t in truth]
  return Labelled(texts[:test], names[:test], (), texts[test:], names[test:]), vectors


@pytest.mark.parametrize("k", [1, 4, 10])
def test_equals_scikit_learn_also_where_votes_draw(numbered, k):
  table, vectors = made(np.random.default_rng(0))
  classifier = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
  classifier.fit(vectors[80:], [row[0] for row in table.reference_labels])
  truth, guesses = [row[0] for row in table.labels], classifier.predict(vectors[:80])
  wanted = {"accuracy": np.mean(truth == guesses), "f1": f1_score(truth, guesses, average="macro")}
  assert 0.3 < wanted["accuracy"] < 0.9
  scores = KNN(k=k)(numbered(vectors), table)
  assert list(scores) == ["accuracy", "f1"]
  assert scores == pytest.approx(wanted)


def test_a_draw_of_votes_goes_to_the_label_that_sorts_first(numbered):
  vectors = [[1, 0], [1, 0.1], [1, 0.2], [1, 0.3], [0, 1]]
  table = Labelled(["0"], [["a"]], (), list("1234"), [["b"], ["a"], ["b"], ["a"]])
  assert KNN(k=2)(numbered(vectors), table)["accuracy"] == 1.0
  assert KNN(k=3)(numbered(vectors), table)["accuracy"] == 0.0
  assert KNN(k=4)(numbered(vectors), table)["accuracy"] == 1.0


def test_of_equally_near_reference_texts_the_first_counts(numbered):
  vectors = [[1, 0], [1, 1], [1, 1.0000001], [1, -1]]
  for labels, wanted in ((["a", "b", "b"], 1.0), (["b", "a", "a"], 0.0)):
    table = Labelled(["0"], [["a"]], (), list("123"), [[label] for label in labels])
    assert KNN(k=1)(numbered(vectors), table) == {"accuracy": wanted, "f1": wanted}


def test_several_labels_each_get_a_vote_and_any_of_the_texts_own_is_right(numbered):
  vectors = [[1, 0], [1, 0.1], [1, 0.2], [1, 0.3]]
  table = Labelled(["0"], [["x", "c"]], (), list("123"), [["a", "c"], ["b", "c"], ["a", "c"]])
  assert KNN(k=3)(numbered(vectors), table) == {"accuracy": 1.0, "f1": 1 / 2}


def test_a_language_is_the_accuracy_of_its_texts(numbered):
  table, vectors = made(np.random.default_rng(1))
  table.languages = ["de"] * 30 + ["ja"] * 50
  scores = KNN()(numbered(vectors), table)
  assert list(scores) == ["accuracy", "f1", "accuracy/de", "accuracy/ja", "f1/de", "f1/ja"]
  for name, part in (("de", slice(30)), ("ja", slice(30, 80))):
    alone = Labelled(table.texts[part], table.labels[part], (), table.reference_texts, table.reference_labels)
    own = {metric: scores[f"{metric}/{name}"] for metric in ("accuracy", "f1")}
    assert KNN()(numbered(vectors), alone) == pytest.approx(own)


def test_limits_draw_texts_and_reference_texts(numbered):
  table, vectors = made(np.random.default_rng(2))
  table.languages = ["de"] * 40 + ["ja"] * 40
  seen = []

  def encode(texts, role="document"):
    seen.append(list(texts))
    return numbered(vectors)(texts)

  scores = KNN(limit=20, reference_limit=30)(encode, table)
  assert [len(set(texts)) for texts in seen] == [20, 30]
  rows, reference = [int(text) for text in seen[0]], [int(text) - 80 for text in seen[1]]
  alone = Labelled(
    seen[0],
    [table.labels[i] for i in rows],
    [table.languages[i] for i in rows],
    seen[1],
    [table.reference_labels[i] for i in reference],
  )
  assert KNN()(numbered(vectors), alone) == pytest.approx(scores)


def test_several_labels_equal_mteb(mteb, mteb_labelled, numbered):
  scores = MultiLabelKNN()(numbered(mteb["labelled"]["vectors"]), mteb_labelled("several"))
  assert list(scores) == ["f1", "accuracy"]
  assert scores == pytest.approx(mteb["labelled"]["numbers"]["multi_label"])


def test_several_labels_are_those_that_more_than_half_of_the_neighbours_bear(numbered):
  vectors = [[1, 0], [1, 0.1], [1, 0.2], [1, 0.3]]
  table = Labelled(["0"], [["a", "b"]], (), list("123"), [["a", "x"], ["a", "b", "x"], ["b"]])
  assert MultiLabelKNN(k=1)(numbered(vectors), table) == pytest.approx({"f1": 1 / 2, "accuracy": 0})
  assert MultiLabelKNN(k=2)(numbered(vectors), table) == pytest.approx({"f1": 1 / 2, "accuracy": 0})  # b: 1 of 2
  assert MultiLabelKNN(k=3)(numbered(vectors), table) == {"f1": 1.0, "accuracy": 1.0}


@pytest.mark.parametrize("k", [0, 3])
def test_k_must_fit_the_reference_texts(numbered, k):
  table = Labelled(["0"], [["a"]], (), ["1", "2"], [["a"], ["b"]])
  with pytest.raises(ValueError, match=f"k={k} of KNN is not between 1 and the number of reference texts, 2"):
    KNN(k=k)(numbered(np.eye(3)), table)
