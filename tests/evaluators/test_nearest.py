"""Neighbours by hand, of each kind of table, and the plane of a map."""

import numpy as np
import pytest
from scipy import sparse

from mtc.evaluators import Graded, Labelled, Parallel, Search, nearest, plane

ANGLES = {"a0": 0, "a1": 10, "b0": 25, "b1": 90, "c0": 100, "ask a": 12, "ask b": 80}


def encode(texts, role="document"):
  """Each text at its angle; queries know that they are queries."""
  turns = np.radians([ANGLES[text.removeprefix("?")] + (1 if role == "query" else 0) for text in texts])
  return np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)


def shown(found):
  return {asked.text: [(one.of.text, one.right, round(one.cosine, 3)) for one in near] for asked, near in found.asked}


def cosine(degrees: float) -> float:
  return round(float(np.cos(np.radians(degrees))), 3)


def test_labelled_texts_ask_one_another_but_not_themselves():
  table = Labelled(["a0", "a1", "b0", "a0"], [["x"], ["x", "y"], ["y"], ["x"]], ["en", "", "de", "en"])
  found = nearest(encode, table, count=9, k=2)
  assert shown(found) == {
    "a0": [("a1", True, cosine(10)), ("b0", False, cosine(25))],
    "a1": [("a0", True, cosine(10)), ("a0", True, cosine(10))],
    "b0": [("a1", True, cosine(15)), ("a0", False, cosine(25))],
  }
  assert (found.candidates, found.drawn) == (4, 4)
  assert found.asked[0][0].language == "en" and list(found.asked[1][0].labels) == ["x", "y"]


def test_where_there_are_reference_texts_these_are_the_neighbours():
  table = Labelled(["a0", "b1"], [["x"], ["y"]], (), ["a0", "c0"], [["x"], ["y"]])
  found = nearest(encode, table, count=2, k=1)
  assert shown(found) == {"a0": [("a0", True, 1.0)]} and "reference" in found.meaning


def test_queries_ask_documents_in_their_role_and_their_answers_are_always_candidates():
  corpus = {"d0": "a0", "d1": "a1", "d2": "b0", "d3": "b1", "d4": "c0"}
  table = Search({"q": "ask a", "r": "ask b"}, corpus, {"q": {"d4": 1.0, "d1": 0.0}, "r": {"d3": 2.0}}, {"q": "en"})
  found = nearest(encode, table, count=5, k=2)
  assert shown(found)["ask a"] == [("a1", False, cosine(3)), ("b0", False, cosine(12))]
  few = nearest(encode, table, count=5, k=5, most=1)
  assert (few.candidates, few.drawn) == (5, 2) and few.asked[0][1][-1].right


def test_a_query_that_is_a_document_does_not_find_itself():
  corpus = {"d0": "a0", "q": "ask a", "d1": "a1"}
  table = Search({"q": "ask a"}, corpus, {"q": {"d0": 1.0, "x": 1.0}}, unreadable=["x"])
  assert shown(nearest(encode, table, count=1, k=3)) == {"ask a": [("a1", False, cosine(3)), ("a0", True, cosine(13))]}
  table.texts_as_ids = ["q"]
  assert [text for text, *_ in shown(nearest(encode, table, count=1, k=3))["ask a"]] == ["ask a", "a1", "a0"]
  found = plane(encode, table)
  assert found is not None and [one.text for one in found.texts] == ["ask a", "a0"], "x has no text to show"


def test_translations_ask_other_languages():
  table = Parallel(["1", "2", "1", "2", "3"], ["a0", "b0", "a1", "b1", "c0"], ["x", "x", "y", "y", "y"])
  found = nearest(encode, table, count=9, k=1)
  assert shown(found)["a0"] == [("a1", True, cosine(10))]
  assert shown(found)["b0"] == [("a1", False, cosine(15))]
  assert shown(found)["b1"] == [("b0", True, cosine(65))], "c0 is nearer, and of the same language"


def test_of_graded_pairs_the_best_ask():
  table = Graded(["a0", "b0", "c0", "a0"], ["a1", "b1", "a1", "b0"], [5.0, 1.0, 0.0, 2.0])
  assert shown(nearest(encode, table, count=9, k=3)) == {
    "a0": [("a1", True, cosine(10)), ("b0", False, cosine(25)), ("b1", False, 0.0)]
  }


def test_examples_are_spread_over_the_table():
  texts = [f"t{number}" for number in range(100)]
  table = Labelled(texts, [[text[-1]] for text in texts])
  found = nearest(lambda texts, role="": np.ones((len(texts), 2), np.float32), table, count=3, k=1)
  assert [asked.text for asked, _ in found.asked] == ["t24", "t49", "t74"]


def test_the_plane_keeps_distances_of_what_lies_in_one():
  table = Labelled(["a0", "a1", "b0", "b1"], [["x"], ["x"], ["y"], ["y"]])
  found, points = plane(encode, table), encode(["a0", "a1", "b0", "b1"])
  assert found is not None and found.share == pytest.approx(1)
  far = np.linalg.norm(points[:, None] - points[None], axis=-1)
  np.testing.assert_allclose(np.linalg.norm(found.xy[:, None] - found.xy[None], axis=-1), far, atol=1e-6)
  counted = plane(lambda texts, role="": sparse.csr_array(encode(texts)), table)
  assert counted is not None
  np.testing.assert_allclose(counted.xy, found.xy, atol=1e-6)


def test_a_plane_of_a_search_has_queries_and_their_answers():
  corpus = {"d0": "a0", "d1": "a1", "d2": "b0"}
  table = Search({"q": "ask a", "r": "ask b"}, corpus, {"q": {"d1": 1.0, "d0": 0.0}, "r": {"d2": 1.0}})
  found = plane(encode, table)
  assert found is not None
  assert [(one.text, one.labels) for one in found.texts] == [
    ("ask a", ["query"]),
    ("ask b", ["query"]),
    ("a1", ["document"]),
    ("b0", ["document"]),
  ]
  assert len(plane(encode, table, most=2).xy) == 2


def test_there_is_no_plane_of_a_point():
  table = Labelled(["a0", "a1", "b0"], [["x"], ["x"], ["y"]])
  assert plane(lambda texts, role="": np.ones((len(texts), 3), np.float32), table) is None
