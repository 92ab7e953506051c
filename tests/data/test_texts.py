"""The texts of one file."""

import pytest

from mtc.data import read_texts


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
