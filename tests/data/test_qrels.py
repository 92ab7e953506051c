"""The judgements of a search, in the forms that files have; `tests/cases/qrels` with its right answers."""

import json
from pathlib import Path

import pytest

from mtc.data import BadRow, Beir

_COLUMNS = "not three columns separated by tabs, and not the four of TREC"

CASES = Path(__file__).parent.parent / "cases" / "qrels"
HEADER = "query-id\tcorpus-id\tscore\n"


def pairs(source, split="test"):
  return [(row["anchor_id"], row["positive_id"], row["score"]) for _, row in source.rows(split)]


@pytest.mark.parametrize("case", ["trec", "quoteall"])
def test_trec_and_quoted_cells_are_read(case):
  assert pairs(Beir(CASES / case)) == [("q1", "d1", 1.0), ("q2", "d2", 1.0)]


def test_an_id_that_ends_in_a_space_matches_itself():
  assert pairs(Beir(CASES / "idspace")) == [("q1", "d1 ", 1.0), ("q2", "d2", 1.0)]


def test_a_title_that_is_a_number_is_named():
  reason = r"titleint/corpus\.jsonl:1: field 'title' is not a string \(got 1984, an int\); fix the row"
  for split in ("test", "corpus"):
    with pytest.raises(BadRow, match=reason):
      list(Beir(CASES / "titleint").rows(split))
  bad: list[BadRow] = []
  assert [row["id"] for _, row in Beir(CASES / "titleint").rows("corpus", bad.append)] == ["d2"]
  assert [one.reason for one in bad] == ["field 'title' is not a string"]


@pytest.fixture
def folder(tmp_path):
  """A function that writes a BEIR folder with these judgements."""

  def write(qrels: str | bytes, documents=("d1", "d2"), queries=("q1", "q2")) -> Beir:
    (tmp_path / "qrels").mkdir()
    for name, ids in {"corpus": documents, "queries": queries}.items():
      lines = (json.dumps({"_id": identity, "text": f"text of {identity}"}) + "\n" for identity in ids)
      (tmp_path / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    (tmp_path / "qrels/test.tsv").write_bytes(qrels if isinstance(qrels, bytes) else qrels.encode())
    return Beir(tmp_path)

  return write


BOTH = [("q1", "d1", 1.0), ("q2", "d2", 1.0)]


@pytest.mark.parametrize(
  ("qrels", "expected"),
  [
    (HEADER + "q1\td1\t1\nq2\td2\t1\n", BOTH),
    ("q1\td1\t1\nq2\td2\t1", BOTH),  # no header, no end of line
    ("qid\tdocid\trelevance\nq1\td1\t1\nq2\td2\t1\n", BOTH),
    ("\ufeff" + HEADER + "q1\td1\t1\nq2\td2\t1\n", BOTH),
    ("\ufeffq1\td1\t1\nq2\td2\t1\n", BOTH),
    ('\ufeff"query-id"\t"corpus-id"\t"score"\r\n"q1"\t"d1"\t"1"\r\nq2\td2\t1\r\n', BOTH),
    (HEADER + "q1\td1\t1\r\n\n  \nq2\td2\t1  \r\n", BOTH),  # mixed line ends, blank lines, spaces at the end
    ("q1 0 d1 1\nq2\t0\td2\t1\n", BOTH),  # TREC by spaces and by tabs
    ("  q1   Q0  d1   1  \r\nq2 0 d2\u00a01\n", BOTH),
    ("q1 Q0\td1 1\nq2 0\td2  1\n", BOTH),  # tabs and spaces in one line
    ("\n \n" + HEADER + "q1\td1\t1\nq2\td2\t1\n", BOTH),  # a header after blank lines
    ("query iteration document grade\nq1 0 d1 1\nq2 0 d2 1\n", BOTH),
    ("query\titeration\tdocument\tgrade\nq1\t0\td1\t1\nq2\t0\td2\t1\n", BOTH),
    ('"q1" "0" "d1" "1"\n"q2" "0" "d2" "1"\n', BOTH),
    (HEADER + "q1\td1\t0.5\nq1\td2\t-1\nq2\td2\t1e1\nq2\td1\t0.0\n", [("q1", "d1", 0.5), ("q2", "d2", 10.0)]),
    (HEADER + "q1\td1\t1\nq1\td1\t1\n", [("q1", "d1", 1.0)] * 2),
  ],
)
def test_the_forms_of_judgements(folder, qrels, expected):
  assert pairs(folder(qrels)) == expected


@pytest.mark.parametrize("identity", ["a\tb", ' "a" ', 'a"b', " a", "a ", "a b", "é\u3000", "0 d", "\ufeffa", "a'b"])
def test_quoted_ids_are_compared_exactly(folder, identity):
  quoted = '"' + identity.replace('"', '""') + '"'
  source = folder(f"{HEADER}q1\t{quoted}\t1\n{quoted}\td1\t1\n", ["d1", identity], ["q1", identity])
  assert pairs(source) == [("q1", identity, 1.0), (identity, "d1", 1.0)]


@pytest.mark.parametrize("identity", [" a", "a ", "a b", 'a"b', "é\u3000", "\u00a0a", "a'b"])
def test_ids_without_quotes_keep_their_spaces(folder, identity):
  source = folder(f"{HEADER}q1\t{identity}\t1\r\n{identity}\td1\t1\n", ["d1", identity], ["q1", identity])
  assert pairs(source) == [("q1", identity, 1.0), (identity, "d1", 1.0)]


def test_whole_numbers_are_ids(folder):
  source = folder("7\t8\t1\n7\t9\t1\n7\t10\t1\n", [8, "9", 10.0], [7])
  assert pairs(source) == [("7", "8", 1.0), ("7", "9", 1.0), ("7", "10", 1.0)]
  with pytest.raises(BadRow, match=r"qrels/test\.tsv:1: an id is not in corpus\.jsonl \('07'\)"):
    (Path(source.path) / "qrels/test.tsv").write_text("7\t07\t1\n")
    pairs(source)


@pytest.mark.parametrize(
  ("line", "reason", "detail"),
  [
    ("q1\td1 \t1", "an id is not in corpus.jsonl", "'d1 '"),
    ("q1 \td1\t1", "an id is not in queries.jsonl", "'q1 '"),
    ("\td1\t1", "an id is not in queries.jsonl", "''"),
    ("q1\t\t1", "an id is not in corpus.jsonl", "''"),
    ('"q1\t"\td1\t1', "an id is not in queries.jsonl", r"'q1\t'"),
    ("q1\t0 d1\t1", "an id is not in corpus.jsonl", "'0 d1'"),
    ("q1,d1,1", _COLUMNS, "'q1,d1,1'"),
    ("q1 d1 1", _COLUMNS, "'q1 d1 1'"),
    ("q1\td1", _COLUMNS, r"'q1\td1'"),
    ("q1\t0\td1\t1\t1", _COLUMNS, r"'q1\t0\td1\t1\t1'"),
    ("q1 0 d1 1 2 run", _COLUMNS, "'q1 0 d1 1 2 run'"),
    ('"q1\td1\t1', "broken quotes", "unexpected end of data"),
    ('"q1"x\td1\t1', "broken quotes", "expected after"),
    ("q1\td1\t1\rq2\td2\t1", "broken quotes", "new-line character"),
    ("q1\td1\t", "the grade is not a number", "''"),
    ("q1\t0\td1 1", "the grade is not a number", "'d1 1'"),
    ("q1\td1\tyes", "the grade is not a number", "'yes'"),
    ("q1\td1\tinf", "the grade is not a number", "'inf'"),
    ('q1\td1\t"1,0"', "the grade is not a number", "'1,0'"),
    ("q1 0 d1 good", "the grade is not a number", "'good'"),
  ],
)
@pytest.mark.parametrize("first", ["", HEADER])
def test_what_is_no_judgement_is_named_in_the_first_line_too(folder, line, reason, detail, first):
  source = folder(first + line + "\n")
  with pytest.raises(BadRow) as caught:
    pairs(source)
  assert caught.value.place.endswith(f"qrels/test.tsv:{2 if first else 1}")
  assert caught.value.reason == reason and detail in caught.value.detail


@pytest.mark.parametrize("content", [b"q1\td1\t1\n\xff\td1\t1\n", "q1\td1\t1\n".encode("utf-16")])
def test_judgements_that_are_no_utf8(folder, content):
  with pytest.raises(BadRow, match="not UTF-8"):
    pairs(folder(content))


def test_an_id_with_a_space_that_only_the_corpus_has_is_shown(folder):
  with pytest.raises(BadRow, match=r"qrels/test\.tsv:2: an id is not in corpus\.jsonl \('d1'\)"):
    pairs(folder(f"{HEADER}q1\td1\t1\n", ["d1 "]))
