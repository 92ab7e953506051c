"""Tokens on disk: what is in them, when they are made again, and that two processes make them once."""

import dataclasses
import itertools
import json
import multiprocessing
import os
from pathlib import Path
import tracemalloc

import numpy as np
import pytest

from mtc.data import tokenizer as tk, tokens
from mtc.data.examples import Pairs, SameLabel, Scored, Translations
from mtc.data.sources import BadRow, InMemory
from mtc.data.tokens import prepare

WORDS = ["rain", "sun", "snow", "wind", "storm", "cloud", "fog", "ice"]


@pytest.fixture(scope="module")
def tokenizer():
  return tk.train([" ".join(WORDS), "query: document:"], 200)


@pytest.fixture
def make(tokenizer, tmp_path):
  def make(rows, kind, **changes):
    options = {"max_length": 16, "prompts": {}, "cache_dir": tmp_path / "cache", "progress": False} | changes
    source = rows if hasattr(rows, "rows") else InMemory({"train": rows})
    return prepare(source, "train", kind, tokenizer, **options)

  return make


def text(prepared, tokenizer, index):
  start, end = prepared.offsets[index : index + 2]
  return tokenizer.decode(prepared.tokens[start:end].tolist(), skip_special_tokens=False)


PAIRS = [
  {"anchor": "rain", "positive": "sun snow", "negatives": ["wind", "fog"], "anchor_id": "1", "positive_id": "1"},
  {"anchor": "ice", "positive": "rain", "anchor_id": "2"},
  {"anchor": "rain", "positive": "cloud", "negatives": ["sun snow"], "anchor_id": "1", "positive_id": "3"},
]


def test_pairs_by_hand(make, tokenizer, tmp_path):
  prepared = make(PAIRS, Pairs(negatives="negatives"))
  texts = [text(prepared, tokenizer, index) for index in range(len(prepared.offsets) - 1)]
  assert texts == [f"[CLS] {t} [SEP]" for t in ("rain", "sun snow", "wind", "fog", "ice", "cloud")]
  assert prepared.anchor.tolist() == [0, 4, 0]
  assert prepared.positive is not None
  assert prepared.positive.tolist() == [1, 0, 5]
  assert prepared.negatives.tolist() == [[2, 3], [-1, -1], [1, -1]]
  assert prepared.score is None
  assert prepared.labels.size == 0
  assert prepared.label_offsets.tolist() == [0, 0, 0, 0]
  assert prepared.offsets.tolist() == np.cumsum([0, 3, 4, 3, 3, 3, 3]).tolist()
  dtypes = {name: getattr(prepared, name).dtype for name in ("tokens", "offsets", "anchor", "keys", "text_keys")}
  assert dtypes == {"tokens": "int32", "offsets": "int64", "anchor": "int32", "keys": "int32", "text_keys": "int32"}
  assert prepared.report == {
    "rows": 3,
    "examples": 3,
    "skipped": {},
    "texts": 6,
    "truncated": 0,
    "tokens": 19,
    "mean_length": 19 / 6,
    "longest": 4,
    "labels": 0,
    "languages": {},
    "fingerprint": directories(tmp_path / "cache")[0],
  }
  with pytest.raises(ValueError, match="read-only"):
    prepared.tokens[0] = 1


def test_keys_of_pairs(make):
  keys = make(PAIRS, Pairs(negatives="negatives"))
  rows = [set(row[row >= 0].tolist()) for row in keys.keys]
  assert [len(row) for row in rows] == [4, 3, 4]  # two texts and their ids
  rain = keys.text_keys[0]
  assert all(rain in row for row in rows)  # a text has one key, as an anchor and as a positive
  assert len(rows[0] & rows[2]) == 2  # the text rain, and its id; "1" as a document's id is another thing
  assert len(rows[0] & rows[1]) == 1


def test_max_negatives_sets_the_width(make):
  assert make(PAIRS, Pairs(negatives="negatives", max_negatives=1)).negatives.tolist() == [[2], [-1], [1]]
  assert make(PAIRS, Pairs()).negatives.shape == (3, 0)
  with pytest.raises(ValueError, match=r"no row of .* has negatives in the field 'negative'"):
    make(PAIRS, Pairs(negatives="negative"))


def test_same_label_by_hand(make, tokenizer):
  rows = [
    {"text": "rain", "labels": ["wet", "cold"], "id": "7", "language": "en"},
    {"text": "sun", "labels": "hot", "language": "de"},
    {"text": "rain", "labels": ["cold"], "id": "8", "language": "en"},
  ]
  prepared = make(rows, SameLabel())
  assert prepared.positive is None
  assert prepared.anchor.tolist() == [0, 1, 0]
  assert prepared.labels.tolist() == [0, 1, 2, 1]
  assert prepared.label_offsets.tolist() == [0, 2, 3, 4]
  assert prepared.negatives.shape == (3, 0)
  keys = [set(row[row >= 0].tolist()) for row in prepared.keys]
  assert [len(row) for row in keys] == [4, 2, 3]
  assert len(keys[0] & keys[2]) == 2  # the text and the label cold
  assert not keys[0] & keys[1]
  assert prepared.report["labels"] == 3
  assert prepared.report["languages"] == {"de": 1, "en": 2}


def test_a_pair_of_grade_0_is_no_pair(make, tokenizer):
  rows = [PAIRS[0] | {"score": 0}, PAIRS[1] | {"score": 0.5}, PAIRS[2] | {"score": -1}]
  prepared = make(rows, Pairs())
  assert [text(prepared, tokenizer, index) for index in prepared.anchor] == [f"[CLS] {PAIRS[1]['anchor']} [SEP]"]
  assert prepared.report["rows"] == 3 and prepared.report["skipped"] == {"a grade of 0 or less": 2}


def test_translations_and_scored(make):
  rows = [{"id": n // 2, "text": WORDS[n], "language": "en" if n % 2 else "de"} for n in range(4)]
  prepared = make(rows, Translations())
  assert prepared.labels.tolist() == [0, 0, 1, 1]
  assert prepared.keys.shape == (4, 2)
  assert len(np.unique(prepared.keys[:, 1])) == 2
  rows = [{"text_a": "rain", "text_b": "sun", "score": 1}, {"text_a": "sun", "text_b": "ice", "score": 5}]
  scored = make(rows, Scored())
  assert scored.score is not None
  assert scored.score.tolist() == pytest.approx([0.2, 1.0])
  assert scored.score.dtype == np.float32
  assert make(PAIRS, Pairs()).score is None


def test_prompts_belong_to_roles_and_keys_do_not_see_them(make, tokenizer):
  prepared = make(PAIRS, Pairs(negatives="negatives"), prompts={"anchor": "query: ", "positive": "document: "})
  texts = [text(prepared, tokenizer, index) for index in range(len(prepared.offsets) - 1)]
  rain = {index for index, t in enumerate(texts) if "rain" in t}
  assert {texts[index] for index in rain} == {"[CLS] query : rain [SEP]", "[CLS] document : rain [SEP]"}
  assert len({int(prepared.text_keys[index]) for index in rain}) == 1
  assert "[CLS] document : fog [SEP]" in texts
  with pytest.raises(ValueError, match=r"SameLabel draws anchor and positive from the same texts"):
    make([{"text": "rain", "labels": "l"}], SameLabel(), prompts={"anchor": "query: "})
  with pytest.raises(ValueError, match=r"prompts has the role 'query'; the roles are 'anchor' and 'positive'"):
    make(PAIRS, Pairs(), prompts={"query": "query: "})


def test_long_texts_are_cut_and_counted_once_each(make, tokenizer):
  long = " ".join(WORDS)
  rows = [{"anchor": long, "positive": "rain"}, {"anchor": long, "positive": "sun snow wind storm"}]
  prepared = make(rows, Pairs(), max_length=5)
  assert prepared.report["truncated"] == 2  # two distinct texts, one of them used twice
  assert prepared.report["longest"] == 5
  assert text(prepared, tokenizer, 0) == "[CLS] rain sun snow [SEP]"


def test_bad_rows_stop_or_are_counted(make):
  rows = [PAIRS[0], {"anchor": " ", "positive": "x"}, {"anchor": "", "positive": "x"}, {"anchor": "a"}]
  with pytest.raises(BadRow, match=r"InMemory\['train'\]:2: field 'anchor' is empty"):
    make(rows, Pairs())
  prepared = make(rows, Pairs(), on_bad_row="skip")
  assert prepared.report["skipped"] == {"field 'anchor' is empty": 2, "field 'positive' is missing": 1}
  assert (prepared.report["rows"], prepared.report["examples"]) == (4, 1)
  with pytest.raises(ValueError, match=r"no row that can be used; 3 rows were skipped"):
    make(rows[1:], Pairs(), on_bad_row="skip")
  with pytest.raises(ValueError, match=r"no row that can be used; check the file"):
    make([], Pairs())


def test_texts_without_any_token_are_refused(tokenizer, tmp_path):
  """As a static embedding would see them: it adds no special tokens."""
  bare, options = tk.bare(tokenizer), {"max_length": 16, "prompts": {}, "cache_dir": tmp_path, "progress": False}
  none = InMemory({"train": [{"anchor": "\u200b", "positive": "\u200b\u200b"}]})
  with pytest.raises(ValueError, match="no text of .* has a token of this model's tokenizer; check the texts, or use"):
    prepare(none, "train", Pairs(), bare, **options)
  some = InMemory({"train": [{"anchor": "\u200b", "positive": "rain"}]})
  found = prepare(some, "train", Pairs(), bare, **options)
  assert found.offsets.tolist() == [0, 0, 1]


def directories(path: Path) -> list[str]:
  return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


def test_made_once_and_again_when_anything_changes(make, tokenizer, tmp_path):
  class Counted(InMemory):
    def rows(self, *arguments):
      reads.append(1)
      return super().rows(*arguments)

  reads: list[int] = []
  source = Counted({"train": [dict(row) for row in PAIRS]})
  first = make(source, Pairs())
  again = make(source, Pairs())
  assert len(reads) == 1
  assert all(np.array_equal(a, b) for a, b in zip(first[:3], again[:3], strict=True))
  assert isinstance(first.tokens, np.memmap)
  make(source, Pairs(), max_length=15)
  make(source, Pairs(), prompts={"positive": "document: "})
  make(source, Pairs(anchor="positive", positive="anchor"))
  make(source, Pairs(), on_bad_row="skip")
  prepare(
    source,
    "train",
    Pairs(),
    tk.train([*WORDS, "more"], 150),
    max_length=16,
    prompts={},
    cache_dir=tmp_path / "cache",
    progress=False,
  )
  source.rows_by_split["train"][0]["anchor"] = "storm"
  make(source, Pairs())
  assert len(reads) == 7
  assert len(directories(tmp_path / "cache")) == 7


def test_a_kind_that_fails_leaves_nothing(make, tmp_path):
  with pytest.raises(BadRow):
    make([PAIRS[0], {"anchor": 3}], Pairs())
  assert directories(tmp_path / "cache") == []


DAMAGES = {
  "cut": lambda d: os.truncate(d / "tokens.npy", (d / "tokens.npy").stat().st_size - 4),
  "longer": lambda d: (d / "tokens.npy").write_bytes((d / "tokens.npy").read_bytes() + b"1234"),
  "missing": lambda d: (d / "keys.npy").unlink(),
  "about": lambda d: (d / "about.json").write_text("{"),
  "empty": lambda d: [file.unlink() for file in d.iterdir()],
  "other": lambda d: np.save(d / "offsets.npy", np.load(d / "offsets.npy") - 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_again(make, tmp_path, damage):
  whole = make(PAIRS, Pairs())
  expected = [None if values is None else np.array(values) for values in whole[:-1]]
  (name,) = directories(tmp_path / "cache")
  del whole
  sizes = {file.name: file.stat().st_size for file in (tmp_path / "cache" / name).iterdir()}
  DAMAGES[damage](tmp_path / "cache" / name)
  mended = make(PAIRS, Pairs())
  for values, right in zip(mended[:-1], expected, strict=True):
    np.testing.assert_array_equal(values, right) if right is not None else None
  assert {file.name: file.stat().st_size for file in (tmp_path / "cache" / name).iterdir()} == sizes


def test_what_a_killed_process_left_is_removed_and_never_read(make, tmp_path):
  make(PAIRS, Pairs())
  (name,) = directories(tmp_path / "cache")
  left = tmp_path / "cache" / f".{name}.{os.uname().nodename}.999999"
  (tmp_path / "cache" / name).rename(left)
  (left / "tokens.npy").write_bytes(b"half")
  assert make(PAIRS, Pairs()).report["examples"] == 3
  assert directories(tmp_path / "cache") == [name]


@dataclasses.dataclass
class Logged(InMemory):
  """Writes a line to a file each time the rows are read."""

  log: str = ""

  def rows(self, *arguments):
    with open(self.log, "a") as file:
      file.write("read\n")
    return super().rows(*arguments)


def _prepare_in_process(tokenizer_json, source, cache_dir, ready, start, results):
  from tokenizers import Tokenizer

  tokenizer = Tokenizer.from_str(tokenizer_json)
  ready.set()
  start.wait()
  found = prepare(source, "train", Pairs(), tokenizer, max_length=16, prompts={}, cache_dir=cache_dir, progress=False)
  results.put((len(found.anchor), int(found.tokens.sum()), int(found.offsets[-1])))


def test_two_processes_make_it_once(tokenizer, tmp_path):
  rows = [{"anchor": f"rain {n}", "positive": f"sun {n}"} for n in range(5000)]
  source = Logged({"train": rows}, log=str(tmp_path / "log"))
  context = multiprocessing.get_context("spawn")
  ready, start, results = context.Event(), context.Event(), context.Queue()
  arguments = (tokenizer.to_str(), source, tmp_path / "cache", ready, start, results)
  other = context.Process(target=_prepare_in_process, args=arguments)
  other.start()
  ready.wait(120)
  start.set()
  _prepare_in_process(*arguments)
  found = [results.get(timeout=120) for _ in range(2)]
  other.join()
  assert found[0] == found[1]
  assert found[0][0] == 5000
  assert (tmp_path / "log").read_text() == "read\n"
  assert len(directories(tmp_path / "cache")) == 1


class Generated:
  """Rows made on the way: `count` distinct pairs of long texts that are never in memory together."""

  def __init__(self, count: int):
    self.count = count

  def splits(self):
    return ["train"]

  def files_of(self, split):
    return []

  def fingerprint(self, split):
    return str(self.count)

  def rows(self, split, on_bad=None):
    for number in range(self.count):
      yield f"{number}", {"anchor": f"rain {number} " + "x" * 1000, "positive": f"sun {number} " + "y" * 1000}


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_the_texts_are_never_in_memory_at_once(make, monkeypatch, count):
  monkeypatch.setattr(tokens, "_BLOCK", 128)
  tracemalloc.start()
  prepared = make(Generated(count), Pairs())
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert prepared.report["texts"] == 2 * count
  assert peak < 2 * count * 1000 / 4  # a quarter of the text: a few hundred bytes each would already be too much


def test_blocks_do_not_show(make, monkeypatch, tmp_path):
  rows = [{"anchor": f"{a} {b}", "positive": f"{b} {a}"} for a, b in itertools.product(WORDS, WORDS)]
  whole = make(rows, Pairs(), cache_dir=tmp_path / "whole")
  monkeypatch.setattr(tokens, "_BLOCK", 3)
  parts = make(rows, Pairs(), cache_dir=tmp_path / "parts")
  for a, b in zip(whole[:-1], parts[:-1], strict=True):
    np.testing.assert_array_equal(a, b) if a is not None else None
  assert whole.report == parts.report
  assert parts.report["texts"] == 64
  about = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/*/about.json"))]
  assert about[0]["made_of"] == about[1]["made_of"]


def test_examples_that_are_left_out_are_as_if_they_were_not_there(tokenizer, tmp_path):
  rows = [{"text": text, "labels": [label]} for text, label in (("soup", "a"), ("bread", "b"), ("oven", "a"))]

  def make(rows, without=()):
    source = InMemory({"train": rows})
    options = {"max_length": 16, "prompts": {}, "cache_dir": tmp_path, "progress": False}
    return prepare(source, "train", SameLabel(), tokenizer, without=without, **options)

  whole, fewer, wanted = make(rows), make(rows, [1]), make([rows[0], rows[2]])
  for name in ("tokens", "offsets", "anchor", "labels", "label_offsets", "keys", "text_keys"):
    np.testing.assert_array_equal(getattr(fewer, name), getattr(wanted, name))
  assert fewer.report["skipped"] == {"a test has its text": 1} and fewer.report["rows"] == 3
  assert len({p.report["fingerprint"] for p in (whole, fewer, make(rows, [0]))}) == 3, "a run on others is refused"
  assert make(rows, []).report == whole.report
