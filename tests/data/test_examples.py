"""Rows become examples; every row that cannot be used is named."""

from collections import Counter
from decimal import Decimal
import math

import pytest

from mtc.data.bad_rows import Skipped
from mtc.data.examples import Crops, Pairs, SameLabel, Scored, Texts, Translations, documents, read
from mtc.data.sources import BadRow, InMemory


def test_pairs():
  row = {"q": "who?", "d": "she", "neg": ["he", "it", "they"], "anchor_id": 7, "positive_id": "p", "score": 2}
  example = Pairs(anchor="q", positive="d", negatives="neg", max_negatives=2).parse("here", row)
  assert example == {
    "anchor": "who?",
    "positive": "she",
    "negatives": ["he", "it"],
    "score": 2.0,
    "labels": [],
    "anchor_id": "7",
    "positive_id": "p",
    "language": "",
  }
  assert Pairs(anchor="q", positive="d").parse("here", row)["negatives"] == []
  assert Pairs(anchor="q", positive="d", negatives="neg").parse("here", row)["negatives"] == ["he", "it", "they"]
  one = Pairs(anchor="q", positive="d", negatives="neg").parse("here", {**row, "neg": "he"})
  assert one["negatives"] == ["he"]
  del row["neg"]
  assert Pairs(anchor="q", positive="d", negatives="neg").parse("here", row)["negatives"] == []


@pytest.mark.parametrize(
  ("labels", "expected"),
  [("a", ["a"]), (["a", "b"], ["a", "b"]), (["b", "a", "b"], ["b", "a"]), (3, ["3"]), (("a",), ["a"])],
)
def test_same_label_takes_one_label_or_several(labels, expected):
  example = SameLabel().parse("here", {"text": "t", "labels": labels, "id": "7", "language": "de"})
  assert (example["anchor"], example["positive"], example["labels"]) == ("t", None, expected)
  assert (example["anchor_id"], example["language"]) == ("7", "de")


def test_texts_are_single():
  example = Texts("body").parse("here", {"body": "a text", "id": 7, "language": "de"})
  assert (example["anchor"], example["positive"], example["labels"]) == ("a text", None, [])
  assert (example["anchor_id"], example["language"]) == ("7", "de")
  with pytest.raises(BadRow, match="field 'body' is missing"):
    Texts("body").parse("here", {"text": "a text"})


@pytest.mark.parametrize(("score", "read"), [(2, 2.0), (Decimal("0.5"), 0.5), (None, None)])
def test_a_grade_is_a_number_or_none(score, read):
  assert Pairs().parse("here", {"anchor": "a", "positive": "b", "score": score})["score"] == read


@pytest.mark.parametrize(("score", "scaled"), [(0, 0.0), (5, 1.0), (2.5, 0.5)])
def test_scored_brings_scores_to_0_1(score, scaled):
  example = Scored().parse("here", {"text_a": "a", "text_b": "b", "score": score})
  assert (example["anchor"], example["positive"], example["score"]) == ("a", "b", scaled)
  shifted = Scored(range=(-1.0, 9.0)).parse("here", {"text_a": "a", "text_b": "b", "score": score})
  assert shifted["score"] == (score + 1) / 10


def test_translations_are_grouped_by_id():
  example = Translations().parse("here", {"id": 4, "text": "ja", "language": "de"})
  assert (example["anchor"], example["labels"], example["anchor_id"], example["language"]) == ("ja", ["4"], "", "de")


@pytest.mark.parametrize(
  ("settings", "text", "anchor", "positive"),
  [
    ({}, "a b c d e f g h i j", "a b c d e f", "e f g h i j"),  # as documented
    ({"share": 0.5}, " a b\n\tc d  e f ", "a b c", "d e f"),
    ({"share": 1.0}, "a b c d e f", "a b c d e f", "a b c d e f"),
    ({"share": 0.01}, "a b c d e f", "a", "f"),
    ({}, "今天天气很好我们去", "今天天气很", "很好我们去"),
    ({"share": 0.5}, "今天天气 很好我们去", "今天天气 ", "很好我们去"),
    ({"share": 0.5, "least": 2}, "two words", "two", "words"),
  ],
)
def test_crops(settings, text, anchor, positive):
  example = Crops(**settings).parse("here", {"text": text, "language": "de", "id": 7})
  assert (example["anchor"], example["positive"]) == (anchor, positive)
  assert (example["negatives"], example["labels"], example["score"], example["language"]) == ([], [], None, "de")
  assert (example["anchor_id"], example["positive_id"]) == ("", "")


def test_crops_of_texts_that_are_too_short():
  with pytest.raises(BadRow, match=r"here: field 'text' is too short for two parts \(5 < least=6\); fix the row"):
    Crops().parse("here", {"text": " a b c "})
  assert Crops().parse("here", {"text": "abcdef"})["anchor"] == "abcd"
  with pytest.raises(BadRow, match="field 'body' is empty"):
    Crops(text="body").parse("here", {"body": " "})
  for share in (0, -0.5, 1.1, math.nan):
    with pytest.raises(ValueError, match=rf"share={share} of Crops is not in \(0, 1\]"):
      Crops(share=share).parse("here", {"text": "a b c d e f"})


@pytest.mark.parametrize(
  ("kind", "change", "reason"),
  [
    (Pairs(), {"anchor": ...}, "field 'anchor' is missing"),
    (Pairs(), {"positive": None}, "field 'positive' is missing"),
    (Pairs(), {"positive": 3}, "field 'positive' is not a string"),
    (Pairs(), {"positive": ["a"]}, "field 'positive' is not a string"),
    (Pairs(), {"anchor": " \n\t\u3000"}, "field 'anchor' is empty"),
    (Pairs(), {"anchor": "a\0b"}, "field 'anchor' has a NUL character"),
    (Pairs(), {"anchor": "a\ud83d"}, "field 'anchor' has half a surrogate pair"),
    (Pairs(), {"score": "0"}, "field 'score' is not a number"),
    (Pairs(), {"score": True}, "field 'score' is not a number"),
    (Pairs(), {"score": math.inf}, "field 'score' is not a finite number"),
    (Pairs(), {"anchor_id": 1.5}, "field 'anchor_id' is not a string or a whole number"),
    (Pairs(negatives="labels"), {"labels": {"a": 1}}, "field 'labels' is not a list of strings"),
    (Pairs(negatives="labels"), {"labels": ["a", ""]}, "field 'labels' is empty"),
    (Pairs(negatives="labels"), {"labels": ["a", 3]}, "field 'labels' is not a string"),
    (SameLabel(), {"text": ""}, "field 'text' is empty"),
    (SameLabel(), {"labels": ...}, "field 'labels' is missing"),
    (SameLabel(), {"labels": []}, "field 'labels' has no label"),
    (SameLabel(), {"labels": ["a", " "]}, "field 'labels' is empty"),
    (SameLabel(), {"labels": [["a"]]}, "field 'labels' is not a string or a whole number"),
    (SameLabel(), {"labels": True}, "field 'labels' is not a string or a whole number"),
    (SameLabel(), {"labels": ["\ud83d"]}, "field 'labels' has half a surrogate pair"),
    (Scored(), {"score": "2"}, "field 'score' is not a number"),
    (Scored(), {"score": True}, "field 'score' is not a number"),
    (Scored(), {"score": math.nan}, "field 'score' is outside 0.0..5.0"),
    (Scored(), {"score": math.inf}, "field 'score' is outside 0.0..5.0"),
    (Scored(), {"score": 5.1}, "field 'score' is outside 0.0..5.0"),
    (Scored(), {"score": -0.1}, "field 'score' is outside 0.0..5.0"),
    (Scored(), {"text_b": ...}, "field 'text_b' is missing"),
    (Translations(), {"id": ...}, "field 'id' is missing"),
    (Translations(), {"language": ...}, "field 'language' is missing"),
  ],
)
def test_rows_that_cannot_be_used(kind, change, reason):
  good = {
    "anchor": "a",
    "positive": "p",
    "text": "t",
    "labels": ["l"],
    "text_a": "a",
    "text_b": "b",
    "score": 2,
    "id": 1,
    "language": "en",
  }
  bad = {name: value for name, value in (good | change).items() if value is not ...}
  source = InMemory({"train": [good, bad, good]})
  with pytest.raises(BadRow) as caught:
    list(read(source, "train", kind))
  assert (caught.value.place, caught.value.reason) == ("InMemory['train']:2", reason)
  assert str(caught.value).startswith(f"InMemory['train']:2: {reason}")
  str(caught.value).encode()  # a message can always be printed
  skipped: Counter[str] = Counter()
  assert len(list(read(source, "train", kind, "skip", skipped))) == 2
  assert skipped == {reason: 1}


def test_documents_are_by_their_first_row_and_bad_ones_can_be_skipped():
  first, again = {"id": "a", "text": "one"}, {"id": "a", "text": "two"}
  source = InMemory({"corpus": [first, "no row", again]})  # type: ignore
  with pytest.raises(BadRow, match="2: not an object"):
    documents(source)
  assert documents(source, Skipped("skip")) == {"a": first}


@pytest.mark.parametrize(
  ("row", "reason"),
  [
    ({"text": "one"}, "field 'id' is missing (the row has text)"),
    ({"id": "b"}, "field 'text' is missing"),
    ({"id": [7], "text": "one"}, "field 'id' is not a string or a whole number (got [7], a list)"),
    ({"id": "b", "text": 7}, "field 'text' is not a string (got 7, an int)"),
  ],
)
def test_a_document_without_id_or_text_is_named(row, reason):
  first = {"id": 7, "text": "good"}  # a number is as good as in pairs
  source = InMemory({"corpus": [first, row]})
  with pytest.raises(BadRow) as caught:
    documents(source)
  assert f"2: {reason}" in str(caught.value)
  assert documents(source, Skipped("skip")) == {"7": first}


def test_a_missing_field_lists_those_that_are_there():
  with pytest.raises(BadRow, match=r"field 'text' is missing \(the row has body, labels\); fix the row"):
    SameLabel().parse("here", {"body": "t", "labels": "l"})


def test_wrong_settings_are_refused():
  with pytest.raises(ValueError, match=r"on_bad_row='ignore' is not known; use 'stop' or 'skip'"):
    list(read(InMemory({"train": []}), "train", Pairs(), "ignore"))
  with pytest.raises(ValueError, match=r"range=\(5.0, 0.0\) of Scored is empty"):
    Scored(range=(5.0, 0.0)).parse("here", {"text_a": "a", "text_b": "b", "score": 1})
