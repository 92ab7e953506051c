"""Tokens are made once, of data that stand still, by whoever comes first."""

import json
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from mtc.data import Changed, Jsonl, Masker, Pairs, SameLabel, examples_of, find_texts, prepare, sources
from mtc.data.sampling import Sampler

ROWS = [{"anchor": f"who is {i}", "positive": f"it is {i}", "anchor_id": f"q{i}"} for i in range(50)]


@pytest.fixture
def source(tmp_path):
  write(tmp_path / "data", ROWS)
  return Jsonl(str(tmp_path / "data"))


def write(folder: Path, rows: list[dict]) -> None:
  folder.mkdir(exist_ok=True)
  (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make(source, tokenizer, tmp_path, kind=None, **more):
  kind = kind or Pairs()
  return prepare(source, "train", kind, tokenizer, max_length=16, prompts={}, cache_dir=tmp_path / "cache", **more)


def test_data_that_change_while_they_are_read_are_refused_and_nothing_is_kept(source, tokenizer, tmp_path, monkeypatch):
  rows = sources.Jsonl.rows

  def change_and_read(self, *args):
    write(tmp_path / "data", ROWS[:40])
    return rows(self, *args)

  with monkeypatch.context() as patch:
    patch.setattr(sources.Jsonl, "rows", change_and_read)
    with pytest.raises(Changed, match=r"split 'train' changed while it was read; run again when nobody writes"):
      make(source, tokenizer, tmp_path)
  write(tmp_path / "data", ROWS)
  assert len(make(source, tokenizer, tmp_path).anchor) == 50


def test_a_byte_of_the_tokens_that_flips_is_found_and_they_are_made_anew(source, tokenizer, tmp_path):
  prepared = make(source, tokenizer, tmp_path)
  expected = {name: np.array(getattr(prepared, name)) for name in ("tokens", "offsets", "keys", "anchor", "positive")}
  (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
  for path in sorted(folder.iterdir()):
    for place in (-1, len(path.read_bytes()) // 2):
      content = bytearray(path.read_bytes())
      content[place] ^= 4
      path.write_bytes(content)
      again = make(source, tokenizer, tmp_path)
      for name, values in expected.items():
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=f"{path.name} {place} {name}")


PREPARE = """
import json, sys
from tokenizers import Tokenizer
from mtc.data import Jsonl, Pairs, prepare, tokens
data, cache, tokenizer, log = sys.argv[1:]
write = tokens._Writer.finish
def finish(self, *args):
  with open(log, "a") as file:
    file.write("made\\n")
  write(self, *args)
tokens._Writer.finish = finish
print("ready", flush=True)
input()
made = prepare(
  Jsonl(data), "train", Pairs(), Tokenizer.from_file(tokenizer), max_length=16, prompts={}, cache_dir=cache
)
print(made.report["fingerprint"], int(made.tokens.sum()))
"""


def test_two_processes_that_prepare_at_once_make_one_result(source, tokenizer, tmp_path):
  write(tmp_path / "data", [row | {"anchor": f"{row['anchor']} {n}"} for row in ROWS for n in range(100)])
  tokenizer.save(str(tmp_path / "tokenizer.json"))
  places = [source.path, str(tmp_path / "cache"), str(tmp_path / "tokenizer.json"), str(tmp_path / "log")]
  command = [sys.executable, "-c", PREPARE, *places]
  pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
  started = [subprocess.Popen(command, **pipes) for _ in range(2)]
  for process in started:
    assert process.stdout.readline() == "ready\n"
  for process in started:
    process.stdin.write("\n")
    process.stdin.flush()
  said = [process.communicate()[0] for process in started]
  assert [process.returncode for process in started] == [0, 0] and said[0] == said[1]
  assert (tmp_path / "log").read_text() == "made\n"
  assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_what_a_step_drew_is_found_again_in_its_rows(source, tokenizer, tmp_path):
  rows = [row | {"negatives": [f"it is not {i}", f"nor {i}"]} for i, row in enumerate(ROWS)]
  rows[0]["score"] = 0  # is no pair, and has no number
  write(tmp_path / "data", rows)
  prepared = make(source, tokenizer, tmp_path, Pairs(negatives="negatives"), without=[3, 7])
  draw = Sampler({"a": prepared}, {"a": 47}, seed=0).sample(0)["a"]
  told = examples_of(draw, prepared, tokenizer)
  expected = [
    {
      "anchor": {"id": row["anchor_id"], "text": row["anchor"]},
      "positive": {"text": row["positive"]},
      "negatives": [{"text": text} for text in row["negatives"]],
    }
    for i, row in enumerate(rows)
    if i not in (0, 4, 8)
  ]
  assert sorted(told, key=str) == sorted(expected, key=str)


def test_rows_that_are_gone_are_told_by_their_tokens(source, tokenizer, tmp_path):
  prepared = make(source, tokenizer, tmp_path)
  write(tmp_path / "data", [{"anchor": "another", "positive": "row"}])
  by_tokens = {0: {"text": "who is"}, 1: {"text": "it is"}}  # this tokenizer knows no digits
  assert find_texts(prepared, [0, 1], tokenizer) == by_tokens
  (tmp_path / "data" / "train.jsonl").unlink()
  assert find_texts(prepared, [0, 1], tokenizer) == by_tokens


def test_a_step_of_masked_words_knows_its_texts(tokenizer, tmp_path):
  write(tmp_path / "data", [{"text": f"soup and bread {i}", "labels": ["a"]} for i in range(300)])
  prepared = make(Jsonl(str(tmp_path / "data")), tokenizer, tmp_path, SameLabel())
  sizes = {"rows": 2, "length": 32, "rate": 0.3, "exponent": 1.0, "seed": 0, "devices": 1, "local_devices": range(1)}
  masker = Masker({"one": prepared}, tokenizer, **sizes)
  texts, step = masker.texts(5)["one"], masker.step(5)
  assert 0 <= len(texts) - int(step.tokens.segment.max(axis=-1).sum()) <= 1  # the last one may not have fitted
  assert set(find_texts(prepared, texts, tokenizer)) == set(texts)
