import numpy as np
import pytest

from mtc.evaluators import Labelled, ZeroShot


def test_equals_mteb(mteb, mteb_labelled):
  data = mteb["labelled"]
  vectors = {str(i): row for i, row in enumerate(data["vectors"])} | {
    f"l{i}": row for i, row in enumerate(data["names"])
  }
  scores = ZeroShot()(lambda texts, role="document": np.array([vectors[text] for text in texts]), mteb_labelled())
  assert list(scores) == ["accuracy", "f1"]
  assert scores == pytest.approx(data["numbers"]["zero_shot"])


def test_names_go_into_the_template():
  table = Labelled(["x"], [["alarm_set"]], (), ["y"], [["37"]])
  assert ZeroShot("about {}.", names={"37": "sports"}).texts(table) == ["about sports.", "about alarm set."]
  for template in ("about", "{} and {}"):
    with pytest.raises(ValueError, match="has not one {}, where the name of a label goes"):
      ZeroShot(template).texts(table)


def test_any_label_of_a_text_is_right_and_of_equally_near_names_the_first_wins(encoder):
  vectors = {"x": [1, 0], "y": [0, 1], "a": [1, 0.1], "b": [1, 0.1], "c": [0, 1]}
  for labels, wanted in ((["a", "c"], 1.0), (["b"], 0.5)):
    table = Labelled(["x", "y"], [labels, ["c"]], (), ["z"], [["a", "b"]])
    assert ZeroShot()(encoder(vectors), table)["accuracy"] == wanted


def test_languages_and_a_limit(mteb, mteb_labelled):
  table, data = mteb_labelled(), mteb["labelled"]
  table.languages = ["de", "ja"] * 60
  vectors = {str(i): row for i, row in enumerate(data["vectors"])} | {
    f"l{i}": row for i, row in enumerate(data["names"])
  }
  asked = []

  def encode(texts, role="document"):
    asked.append(len(texts))
    return np.array([vectors[text] for text in texts])

  scores = ZeroShot(limit=30)(encode, table)
  assert asked == [30, 4]
  assert list(scores) == ["accuracy", "f1", "accuracy/de", "accuracy/ja", "f1/de", "f1/ja"]
