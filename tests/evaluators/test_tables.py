import pytest

from mtc.evaluators import Graded, Labelled, Parallel, Search

NAN = float("nan")
QUERY, CORPUS = {"q": "who"}, {"d": "she"}


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: Search(QUERY, CORPUS, {}), r"no queries with judgements \(qrels\); is the split empty"),
    (lambda: Search(QUERY, {}, {"q": {"d": 1}}), "the table has no documents"),
    (lambda: Search(QUERY, CORPUS, {"q": {"d": 1}, "r": {}, "s": {}}), "2 query ids that do not exist, the first 'r'"),
    (lambda: Search(QUERY, CORPUS, {"q": {"d": 1, "e": 1}}), "1 document ids that do not exist, the first 'e'"),
    (
      lambda: Search(QUERY, CORPUS, {"q": {"e": 1, "f": 1}}, unreadable=["e"]),
      "1 document ids that do not exist, the first 'f'",
    ),
    (
      lambda: Search(QUERY, CORPUS, {"q": {"e": 1, "d": 0}}, unreadable=["e"]),
      "none of 1 relevant documents can be read; are the ids of the judgements those of the corpus",
    ),
    (lambda: Search(QUERY, CORPUS, {"q": {"d": 0}}), "none of 1 queries has a relevant document"),
    (lambda: Labelled([], []), "the table has no texts; is the split empty"),
    (lambda: Labelled(["x", "y"], [["a"]]), "different lengths: {'texts': 2, 'labels': 1, 'languages': 2}"),
    (lambda: Labelled(["x"], [["a"]], ["en", "en"]), "different lengths"),
    (lambda: Labelled(["x"], [["a"]], ["en"], ["r"], []), "{'reference_texts': 1, 'reference_labels': 0}"),
    (lambda: Labelled(["x", "y", "z"], [["a"], [], []]), "2 of 3 labels are empty, the first in row 1"),
    (lambda: Labelled(["x"], [["a"]], (), ["r"], [[]]), "1 of 1 reference_labels are empty, the first in row 0"),
    (lambda: Labelled(["x"], ["news"]), r"labels\[0\] is the string 'news'; expected a list of labels"),
    (lambda: Graded([], [], []), "the table has no pairs"),
    (lambda: Graded(["x"], ["y", "z"], [1.0]), "different lengths"),
    (lambda: Graded(["x"] * 3, ["y"] * 3, [1.0, NAN, NAN]), "2 of 3 scores are NaN or infinite, the first in row 1"),
    (lambda: Graded(["x"] * 2, ["y"] * 2, [3.0, 3.0]), "all 2 scores are 3.0; a correlation needs at least two"),
    (
      lambda: Labelled(["x", "y"], [["a"], ["a"]], (), ["r"], [["a"]]),
      "all 2 texts have the one label 'a', so any guess",
    ),
    (
      lambda: Graded(["x"] * 3, ["y"] * 3, [1.0, 2.0, 3.0], ["en", "en", "de"]),
      "language 'de' has 1 of 3 pairs, all with the score 3.0; a correlation needs at least two",
    ),
    (lambda: Parallel([], [], []), "the table has no texts"),
    (lambda: Parallel(["1"], ["x"], ["en", "de"]), "different lengths"),
    (lambda: Parallel(["1", "2"], ["x", "y"], ["en", "en"]), "all 2 texts are in 'en'; translation takes two"),
    (
      lambda: Parallel(["1", "1", "1"], ["x", "y", "z"], ["en", "de", "en"]),
      "row 2 has id '1' in language 'en' a second time",
    ),
  ],
)
def test_bad_input(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_languages_may_be_missing():
  assert Labelled(["x", "y"], [["a"], ["b"]]).languages == ["", ""]
  assert Graded(["x", "y"], ["z", "z"], [0, 1]).languages == ["", ""]
