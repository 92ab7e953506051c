"""The texts of one file, and those of many by group."""

import gzip

import pyarrow
from pyarrow import parquet
import pytest

from mtc.data import read_groups, read_texts


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("posts.txt", b"a\n\xff\n", r"posts\.txt:2 is not UTF-8"),
    ("posts.jsonl", b'{"text": "a"}\n{"text": "\\ud83d"}\n', r"posts\.jsonl:2: field 'text' has half a surrogate pair"),
    ("posts.jsonl", b'{"text": 3}\n', r"posts\.jsonl:1: field 'text' is not a string \(got 3, an int\); .* --field"),
    ("posts.jsonl", b'{"text": false}\n', r"posts\.jsonl:1: field 'text' is not a string \(got False, a bool\)"),
    ("posts.jsonl", b'{"text": null}\n', r"posts\.jsonl:1: field 'text' is missing \(got None\); .* --field"),
    ("posts.jsonl", b'{"body": "a"}\n', r"posts\.jsonl:1: field 'text' is missing \(the row has body\); .* --field"),
    ("posts.csv", b"a\n", r"posts\.csv is of an unknown kind"),
  ],
)
def test_what_is_no_text(tmp_path, name, content, message):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=message):
    list(read_texts(tmp_path / name, "text"))


def test_the_lines_of_a_txt(tmp_path):
  (tmp_path / "posts.txt").write_bytes("a b\r\n\nñ".encode())
  assert list(read_texts(tmp_path / "posts.txt", "text")) == ["a b", "", "ñ"]


def group(path, *fields):
  return list(read_groups(str(path), fields or ("text", "text_a", "text_b", "anchor", "positive")))


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  raw = content.encode()
  path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def test_texts_by_group_of_files(tmp_path):
  write(tmp_path / "de.txt", "\ufeffeins\n\nzwei\n")
  write(tmp_path / "pt-BR.txt.gz", "um\n")
  write(
    tmp_path / "posts.jsonl", '{"text": "a", "language": "en"}\n{"text": " "}\n{"text_a": "b", "text_b": "c", "x": 1}\n'
  )
  write(tmp_path / "posts.old.jsonl.gz", '{"body": "d", "text": null, "language": 7}\n')
  parquet.write_table(pyarrow.table({"text": ["e", "f"], "language": ["en", None]}), tmp_path / "table.parquet")
  assert group(tmp_path / "de.txt") == [("de", "eins"), ("de", "zwei")]
  assert group(tmp_path / "pt-BR.txt.gz") == [("pt-BR", "um")]
  assert group(tmp_path / "posts.jsonl") == [("en", "a"), ("posts", "b"), ("posts", "c")]
  assert group(tmp_path / "posts.old.jsonl.gz", "text", "body") == [("7", "d")]  # a language may be a whole number
  assert group(tmp_path / "table.parquet") == [("en", "e"), ("table", "f")]
  assert group(f"sv={tmp_path / 'posts.jsonl'}") == [("sv", "a"), ("sv", "b"), ("sv", "c")]


def test_texts_by_group_of_directories(tmp_path):
  write(tmp_path / "lines" / "de.txt", "eins\n")
  write(tmp_path / "lines" / "fr.txt.gz", "un\n")
  write(tmp_path / "tasks" / "README.md", "nothing")
  write(tmp_path / "tasks" / ".git" / "train.jsonl", '{"text": "hidden"}\n')
  write(tmp_path / "tasks" / "tags" / "train.jsonl", '{"text": "a", "language": "en"}\n')
  write(tmp_path / "tasks" / "tags" / "test.jsonl", '{"text": "a test"}\n')
  write(tmp_path / "tasks" / "only_test" / "test.jsonl", '{"text": "a test"}\n')
  search = tmp_path / "tasks" / "search"
  write(search / "corpus.jsonl", "".join(f'{{"_id": "d{i}", "text": "document {i}"}}\n' for i in range(3)))
  write(search / "queries.jsonl", "".join(f'{{"_id": "q{i}", "text": "query {i}"}}\n' for i in range(3)))
  write(search / "qrels" / "train.tsv", "q0\td1\t1\n")
  write(search / "qrels" / "test.tsv", "q2\td2\t1\n")
  assert group(tmp_path / "lines") == [("de", "eins"), ("fr", "un")]
  assert group(tmp_path / "tasks" / "tags") == [("en", "a")]
  # Of a search only what its training pairs have: neither q2 nor d2 of the test, nor d0 of no pair.
  assert group(search) == [("search", "query 0"), ("search", "document 1")]
  assert group(tmp_path / "tasks") == [*group(search), ("en", "a")]
  (tmp_path / "tasks" / "loop").symlink_to(tmp_path)
  assert sorted(group(tmp_path)) == sorted([*group(tmp_path / "lines"), *group(search), ("en", "a")])


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("a.csv", "a", r"a\.csv is of an unknown kind; use \.jsonl"),
    ("a.jsonl", '{"body": "a"}', r"a\.jsonl:1: no text in the fields text, .*; the row has body; see --field"),
    ("a.jsonl", '{"text": 3}', r"a\.jsonl:1: no text in the fields"),
    ("a.jsonl", r'{"text": "\ud800"}', r"a\.jsonl:1: field 'text' has half a surrogate pair"),
    ("a.jsonl", r'{"text": "a", "language": "\u202e"}', r"a\.jsonl:1: field 'language' is no name"),
    ("a.jsonl", "{", r"a\.jsonl:1: broken JSON"),
    ("b/c/README.md", "a", "holds no texts; there is b; name a directory"),
    ("b/test.jsonl", '{"text": "a"}', r"train\.jsonl does not exist; there is test\.jsonl"),
  ],
)
def test_what_is_no_group_of_texts(tmp_path, name, content, message):
  write(tmp_path / name, content)
  with pytest.raises((ValueError, OSError), match=message):
    group(tmp_path / name if "/" not in name else tmp_path)
  with pytest.raises(FileNotFoundError, match="nothing does not exist; name a file or a directory"):
    group(f"en={tmp_path / 'nothing'}")
