"""Every kind of task and every source takes the same values as texts, names and numbers, and refuses the same."""

import array
from datetime import date
from decimal import Decimal
import enum
from fractions import Fraction
import json
import math
import sys
import types

import numpy as np
import pyarrow as pa
from pyarrow import parquet
import pytest

from mtc.config import Evaluation, Experiment, Task, differences, to_dict
from mtc.data import Crops, InMemory, Jsonl, Pairs, Parquet, SameLabel, Scored, Translations, documents, fields, read
from mtc.data.fields import BadRow
from mtc.evaluation import tables
from mtc.evaluators import Retrieval


class Topic(enum.StrEnum):
  SOUP = "soup"


NUMBERS = [
  *(3, 3.0, Decimal("3"), Decimal("3.000"), Fraction(6, 2), np.int64(3), np.uint8(3), np.float16(3), np.float32(3)),
  *(np.float64(3), np.longdouble(3), np.array(3), np.array(3.0), pa.scalar(3), pa.scalar(3.0), pa.scalar(Decimal("3"))),
]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_a_number_of_any_type_is_one_for_every_kind(value):
  pair = {"anchor": "a", "positive": "b", "score": value, "anchor_id": value, "positive_id": value, "language": value}
  found = Pairs().parse("here", pair)
  assert (found["score"], found["anchor_id"], found["positive_id"], found["language"]) == (3.0, "3", "3", "3")
  assert type(found["score"]) is float
  assert Scored().parse("here", {"text_a": "a", "text_b": "b", "score": value})["score"] == 0.6
  for labels in (value, [value], (value, "3"), np.array([value])):
    assert SameLabel().parse("here", {"text": "t", "labels": labels, "id": value})["labels"] == ["3"]
  assert Translations().parse("here", {"id": value, "text": "t", "language": "de"})["labels"] == ["3"]
  assert documents(InMemory({"corpus": [{"id": value, "text": "t"}]})).keys() == {"3"}


@pytest.mark.parametrize(
  "value", [0.5, np.float32(0.5), Decimal("0.5"), Fraction(1, 2), pa.scalar(0.5), np.longdouble(0.5)], ids=repr
)
def test_a_fraction_is_a_number_and_no_name(value):
  assert Pairs().parse("here", {"anchor": "a", "positive": "b", "score": value})["score"] == 0.5
  assert Scored(range=(0, 1)).parse("here", {"text_a": "a", "text_b": "b", "score": value})["score"] == 0.5
  for kind, row in NAMED:
    with pytest.raises(BadRow, match=r"is not a string or a whole number \(got .*0?\.?5|1"):
      kind.parse("here", row(value))


NAMED = [
  (SameLabel(), lambda value: {"text": "t", "labels": value}),
  (SameLabel(), lambda value: {"text": "t", "labels": ["a", value]}),
  (SameLabel(), lambda value: {"text": "t", "labels": "a", "id": value}),
  (Pairs(), lambda value: {"anchor": "a", "positive": "b", "anchor_id": value}),
  (Pairs(), lambda value: {"anchor": "a", "positive": "b", "positive_id": value}),
  (Pairs(), lambda value: {"anchor": "a", "positive": "b", "language": value}),
  (Translations(), lambda value: {"id": value, "text": "t", "language": "de"}),
  (Translations(), lambda value: {"id": "i", "text": "t", "language": value}),
  (Crops(), lambda value: {"text": "abcdef", "language": value}),
]
NO_NAMES = [
  *(True, False, np.True_, pa.scalar(True), math.inf, 2.0**53, Decimal("1e999999999"), Decimal("Infinity"), 10**5000),
  *(date(2024, 1, 2), np.datetime64("2024-01-02T00:00:00.000000000"), np.timedelta64(5, "ns"), 1j, {"a"}, {"a": 1}),
  *([["a"]], np.array([["a"]]), object()),
]


@pytest.mark.parametrize("value", NO_NAMES, ids=lambda value: str(type(value)))
@pytest.mark.parametrize(("kind", "row"), NAMED)
def test_what_is_no_name_is_refused_with_its_type(value, kind, row):
  with pytest.raises(BadRow, match=r"field '\w+' is not a string or a whole number \(got .*, an? \w+") as caught:
    kind.parse("here", row(value))
  assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
  "value",
  [True, np.False_, "3", np.str_("3"), b"3", 1j, date(2024, 1, 2), [3], np.array([3]), {}, np.timedelta64(3, "s")],
  ids=repr,
)
def test_what_is_no_number_is_refused_with_its_type(value):
  for kind in (Pairs(), Scored()):
    row = {"anchor": "a", "positive": "b", "text_a": "a", "text_b": "b", "score": value}
    with pytest.raises(BadRow, match=r"field 'score' is not a number \(got .*, an? \w+\)"):
      kind.parse("here", row)


@pytest.mark.parametrize(
  "value", [10**400, Fraction(10**400), Decimal("1e400"), -(10**400), np.float32("inf")], ids=str
)
def test_a_number_past_all_floats_is_refused(value):
  with pytest.raises(BadRow, match="field 'score' is not a finite number"):
    Pairs().parse("here", {"anchor": "a", "positive": "b", "score": value})
  with pytest.raises(BadRow, match=r"field 'score' is outside 0\.0\.\.5\.0"):
    Scored().parse("here", {"text_a": "a", "text_b": "b", "score": value})


TEXTS = ["soup", np.str_("soup"), b"soup", np.bytes_(b"soup"), Topic.SOUP, pa.scalar("soup"), np.array("soup")]


@pytest.mark.parametrize("value", TEXTS, ids=lambda value: str(type(value)))
def test_a_text_of_any_type_is_one_for_every_kind(value):
  rows = [
    (Pairs("t", "t", "t"), {"t": value, "anchor_id": value, "language": value}),
    (Pairs("t", "t", "n"), {"t": value, "n": [value]}),
    (SameLabel("t", "t"), {"t": value, "id": value}),
    (SameLabel("t", "n"), {"t": value, "n": (value,)}),
    (Scored("t", "t"), {"t": value, "score": 1}),
    (Translations("t", "t", "t"), {"t": value}),
    (Crops("t", least=2), {"t": value}),
  ]
  for kind, row in rows:
    found = kind.parse("here", row)
    every = [found["anchor"], *found["negatives"], *found["labels"], found["anchor_id"], found["language"]]
    assert {type(text) for text in every} == {str}
    assert set(every) <= {"soup", ""} or isinstance(kind, Crops)
  found = documents(InMemory({"corpus": [{"id": value, "text": value, "language": value}]}))
  assert found == {"soup": {"id": value, "text": "soup", "language": "soup"}}
  assert type(found["soup"]["text"]) is str


@pytest.mark.parametrize(
  "values",
  [
    ["a", "b"],
    ("a", "b"),
    np.array(["a", "b"]),
    np.array(["a", "b"], object),
    np.array([b"a", b"b"]),
    pa.array(["a", "b"]),
    pa.chunked_array([["a"], ["b"]]),
    pa.scalar(["a", "b"]),
  ],
  ids=lambda values: str(type(values)),
)
def test_a_list_of_any_type_is_one(values):
  assert SameLabel().parse("here", {"text": "t", "labels": values})["labels"] == ["a", "b"]
  row = {"anchor": "t", "positive": "t", "n": values}
  assert Pairs(negatives="n").parse("here", row)["negatives"] == ["a", "b"]
  assert Pairs(negatives="n", max_negatives=1).parse("here", row)["negatives"] == ["a"]


def test_whole_numbers_in_arrays_are_labels():
  for labels in (np.array([1, 2]), array.array("q", [1, 2]), pa.array([1, 2]), [np.int64(1), 2.0]):
    assert SameLabel().parse("here", {"text": "t", "labels": labels})["labels"] == ["1", "2"]


MISSING = [
  None,
  math.nan,
  np.float32("nan"),
  Decimal("NaN"),
  Decimal("sNaN"),
  np.datetime64("NaT", "s"),
  pa.scalar(None),
]


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_a_missing_value_is_missing(value):
  optional = dict.fromkeys(("anchor_id", "positive_id", "language", "score", "n"), value)
  found = Pairs(negatives="n").parse("here", {"anchor": "a", "positive": "b"} | optional)
  assert found == Pairs().parse("here", {"anchor": "a", "positive": "b"})
  assert (found["score"], found["negatives"], found["anchor_id"], found["language"]) == (None, [], "", "")
  for kind, row, field in [
    (Pairs(), {"anchor": value, "positive": "b"}, "anchor"),
    (SameLabel(), {"text": "t", "labels": value}, "labels"),
    (Translations(), {"id": value, "text": "t", "language": "de"}, "id"),
    (Translations(), {"id": 1, "text": "t", "language": value}, "language"),
  ]:
    with pytest.raises(BadRow, match=rf"field '{field}' is missing \(got "):
      kind.parse("here", row)


def test_na_and_nat_of_pandas_are_missing_without_importing_it(monkeypatch):
  na, nat = object(), object()
  monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(NA=na, NaT=nat))
  row = {"anchor": "a", "positive": "b", "anchor_id": na, "positive_id": nat, "score": na, "language": nat}
  assert Pairs().parse("here", row) == Pairs().parse("here", {"anchor": "a", "positive": "b"})


@pytest.mark.torch  # the extra brings pandas
def test_rows_that_come_from_pandas():
  import pandas as pd

  frame = pd.DataFrame(
    {
      "anchor": pd.array(["a", "b", "c"], "string"),
      "positive": ["x", "y", "z"],
      "score": [1, None, 0.5],
      "anchor_id": pd.array([1, None, 2**60], "Int64"),
      "positive_id": [1.0, math.nan, 3.0],
      "language": pd.array(["de", None, "en"], "string"),
      "n": [["m"], None, pd.Series(["n", "o"])],
      "when": pd.to_datetime(["2024-01-01", None, "2024-01-03"]),
    }
  )
  rows = frame.to_dict("records")
  found = list(read(InMemory({"train": rows}), "train", Pairs(negatives="n")))
  assert [row["score"] for row in found] == [1.0, None, 0.5]
  assert [row["anchor_id"] for row in found] == ["1", "", str(2**60)]
  assert [row["positive_id"] for row in found] == ["1", "", "3"]
  assert [row["language"] for row in found] == ["de", "", "en"]
  assert [row["negatives"] for row in found] == [["m"], [], ["n", "o"]]
  assert len(InMemory({"train": rows}).fingerprint("train")) == 64
  json.dumps(to_dict(InMemory({"train": rows})))
  with pytest.raises(ValueError, match=r"rows_by_split\['train'\] of InMemory is a DataFrame; use a list of dicts"):
    InMemory({"train": frame})  # type: ignore
  with pytest.raises(BadRow, match="is not a string or a whole number .*, a Timestamp"):
    Pairs().parse("here", {"anchor": "a", "positive": "b", "anchor_id": pd.Timestamp("2024-01-01")})


def test_all_sources_read_the_same(tmp_path):
  rows = [
    {"anchor": "a", "positive": "b", "score": 1.0, "anchor_id": 7, "n": ["m", "n"], "language": None},
    {"anchor": "c", "positive": "d", "score": math.nan, "anchor_id": 8, "n": None, "language": "de"},
  ]
  (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  decimals = pa.array([Decimal("1.0"), None], pa.decimal128(5, 2))
  table = pa.Table.from_pylist(rows).set_column(2, "score", decimals)
  parquet.write_table(table.set_column(0, "anchor", pa.array([b"a", b"c"])), tmp_path / "train.parquet")
  memory = [{name: np.array(value)[()] for name, value in row.items()} for row in rows]
  sources = [Jsonl(str(tmp_path)), Parquet(str(tmp_path)), InMemory({"train": rows}), InMemory({"train": memory})]
  found = [list(read(source, "train", Pairs(negatives="n"))) for source in sources]
  assert found[0] == found[1] == found[2] == found[3]
  assert [row["score"] for row in found[0]] == [1.0, None]


def test_a_table_of_documents_of_any_type_is_scored():
  corpus = [{"id": np.int64(i), "text": np.str_(f"document {i}"), "language": math.nan} for i in range(3)]
  test = [
    {"anchor": b"document 1", "positive": "document 1", "anchor_id": "q", "positive_id": 1.0, "score": np.int8(1)}
  ]
  source = InMemory({"test": test, "corpus": corpus})
  experiment = Experiment(
    tasks={"a": Task(source)}, evaluations={"a": Evaluation(source, Pairs(), Retrieval(), validation="")}
  )
  (table,) = tables.read_tables(experiment, "test").values()
  assert table.corpus == {str(i): f"document {i}" for i in range(3)} and table.qrels == {"q": {"1": 1.0}}
  assert set(table.document_languages.values()) == {""}


def test_the_fingerprint_of_rows_in_memory_is_of_their_values():
  def fingerprint(row):
    return InMemory({"train": [row]}).fingerprint("train")

  plain = fingerprint({"a": "x", "b": [1, 2], "c": 0.5})
  assert plain == fingerprint({"a": np.str_("x"), "b": np.array([1, 2]), "c": Fraction(1, 2) + np.float64(0)})
  long = np.arange(5000)
  assert fingerprint({"a": long}) != fingerprint({"a": np.where(long == 2500, 0, long)})  # repr shows both alike
  assert fingerprint({1: "a", "b": 2}) == fingerprint({"1": "a", "b": 2})
  row = {"a": []}
  row["a"].append(row)
  with pytest.raises(ValueError, match="has a row that is too deep, or in itself; leave that field out"):
    fingerprint(row)


def test_a_config_with_any_rows_in_memory_is_written_and_equals_itself():
  row = {"a": np.float32(0.5), "b": np.array(["x"]), "c": math.nan, "d": date(2024, 1, 2), "e": b"\xff", 5: Decimal(1)}
  made = [to_dict(Experiment(tasks={"a": Task(InMemory({"train": [dict(row)]}))})) for _ in range(2)]
  assert differences(json.loads(json.dumps(made[0])), made[1]) == []
  written = made[0]["tasks"]["a"]["source"]["rows_by_split"]["train"][0]
  assert (written["a"], written["b"], written["c"]) == (0.5, ["x"], None)


def test_a_message_shows_the_value_and_its_type():
  assert fields.got(1984) == "got 1984, an int"
  assert fields.got(None) == "got None"
  assert fields.got(10**5000) == "got a very long number, an int"
  assert fields.got([10**5000]) == "got ..., a list"
  assert len(fields.got("x" * 10**6)) < 80
