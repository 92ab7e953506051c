import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from mtc.evaluators import Labelled, LinearProbe


def test_equals_mteb(mteb, mteb_labelled, numbered):
  scores = LinearProbe()(numbered(mteb["labelled"]["vectors"]), mteb_labelled())
  assert list(scores) == ["accuracy", "f1"]
  assert scores == pytest.approx(mteb["labelled"]["numbers"]["probe"])


def test_no_limit_of_samples_is_one_regression_on_all(mteb, mteb_labelled, numbered):
  table = mteb_labelled()
  vectors = np.array(mteb["labelled"]["vectors"])
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  labels = [row[0] for row in (*table.reference_labels, *table.labels)]
  guesses = LogisticRegression(max_iter=100).fit(vectors[:120], labels[:120]).predict(vectors[120:])
  wanted = {"accuracy": np.mean(guesses == labels[120:]), "f1": f1_score(labels[120:], guesses, average="macro")}
  assert LinearProbe(samples_per_label=0, experiments=1)(numbered(vectors), table) == pytest.approx(wanted)


def test_only_texts_that_a_probe_learns_from_are_encoded(mteb, mteb_labelled, numbered):
  seen = []

  def encode(texts, role="document"):
    seen.append(len(texts))
    return numbered(mteb["labelled"]["vectors"])(texts)

  LinearProbe(experiments=1, samples_per_label=5, limit=50)(encode, mteb_labelled())
  assert seen == [50, 4 * 5]


def test_a_language_is_that_of_its_texts_by_the_same_probes(mteb, mteb_labelled, numbered):
  table, encode = mteb_labelled(), numbered(mteb["labelled"]["vectors"])
  table.languages = ["de", "ja"] * 60
  scores = LinearProbe()(encode, table)
  for start, name in enumerate(("de", "ja")):
    alone = Labelled(table.texts[start::2], table.labels[start::2], (), table.reference_texts, table.reference_labels)
    own = {metric: scores[f"{metric}/{name}"] for metric in ("accuracy", "f1")}
    assert LinearProbe()(encode, alone) == pytest.approx(own)


def test_bad_input(mteb, mteb_labelled, numbered):
  encode = numbered(mteb["labelled"]["vectors"])
  with pytest.raises(ValueError, match=r"texts bear several labels, the first \['l.', 'l.'\]; LinearProbe takes one"):
    LinearProbe()(encode, mteb_labelled("several"))
  with pytest.raises(ValueError, match=r'the 0 reference texts of LinearProbe have 0 labels.*reference="train"'):
    LinearProbe()(encode, Labelled(["0", "1"], [["a"], ["b"]]))
  with pytest.raises(ValueError, match="LinearProbe.* has no probe"):
    LinearProbe(experiments=0)(encode, mteb_labelled())
