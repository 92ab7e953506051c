"""What is skipped of a table: counted by reason, and documents and queries once each."""

import pytest

from mtc.data.bad_rows import BadRow, NotThere, Skipped, each_in_words, in_words


def test_rows_count_each_and_parts_of_a_search_once():
  skipped = Skipped("skip")
  for place in ("a:1", "a:2", "a:2"):
    skipped(BadRow(place, "broken JSON"))
  for place in ("corpus:7", "corpus:7", "qrels:1"):
    skipped(BadRow(place, "field 'text' is empty").of("document", "d"))
  skipped(NotThere("qrels:2", "an id is not in corpus.jsonl").of("document", "d"))  # it is there, and empty
  skipped(NotThere("qrels:3", "an id is not in queries.jsonl").of("query", "q"))
  skipped(BadRow("queries:4", "field '_id' is missing").of("query", None))
  skipped(NotThere("qrels:9", "an id is not in queries.jsonl").of("query", "r"))
  assert skipped.counts() == {
    "broken JSON": 3,
    "document: field 'text' is empty": 1,
    "query: an id is not in queries.jsonl": 1,  # of q and r one may be the query without a readable id
    "query: field '_id' is missing": 1,
  }


def test_what_another_row_has_is_not_skipped():
  skipped = Skipped("skip")
  skipped(BadRow("a:1", "field 'positive' is empty").of("document", 7))
  skipped(BadRow("a:2", "field 'positive' is empty").of("document", "8"))
  skipped(BadRow("a:3", "field 'anchor' is empty").of("query", "7"))
  skipped.found("document", {"7": "a text"})
  assert skipped.counts() == {"document: field 'positive' is empty": 1, "query: field 'anchor' is empty": 1}


def test_stop_raises_and_other_words_are_refused():
  with pytest.raises(BadRow, match="here: broken JSON; fix the row"):
    Skipped("stop")(BadRow("here", "broken JSON"))
  with pytest.raises(ValueError, match="on_bad_row='ignore' is not known; use 'stop' or 'skip'"):
    Skipped("ignore")


def test_an_identity_is_a_string_or_a_whole_number():
  bad = BadRow("here", "why")
  assert [bad.of("document", value).identity for value in ("a", 7, True, None, ["a"], 1.5)] == ["a", "7", *[""] * 4]


def test_in_words():
  counts = {"document: broken JSON": 1, "query: field 'text' is empty": 2, "field 'a: b' is missing": 1234}
  assert in_words(counts) == (
    "1 document left out (broken JSON), 2 queries left out (field 'text' is empty), "
    "1,234 rows left out (field 'a: b' is missing)"
  )
  assert in_words({}, "; ") == "" and in_words({"broken JSON": 1}, "; ") == "; 1 row left out (broken JSON)"
  assert list(each_in_words({"a": {"test": {"broken JSON": 1}}})) == [("a", "test", "1 row left out (broken JSON)")]
