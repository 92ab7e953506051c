"""Every bad input of the table is answered with an error that says what is wrong; odd but good ones with a result."""

import json
import math
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
import tracemalloc

import hostile_inputs as inputs
import hostile_table as table
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from mtc import data
from mtc.embedder import embedder


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # which ml_collections calls
@pytest.mark.parametrize("bad", table.TABLE, ids=lambda bad: bad.name)
def test_a_bad_input_is_answered(bad: table.Bad, tmp_path, capfd):
  bad.make(tmp_path)
  said = ""
  with pytest.raises((ValueError, OSError, SystemExit)) as caught:
    bad.door(tmp_path)
  said = str(caught.value)
  if isinstance(caught.value, SystemExit):  # the command line has printed it
    assert caught.value.code == 2
    said = capfd.readouterr().err
  assert bad.words in said
  assert "Traceback" not in said


def test_the_table_is_long_and_its_names_are_its_own():
  names = [bad.name for bad in table.TABLE]
  assert len(names) >= 200 and len(set(names)) == len(names)


def prepare(folder, content: bytes, kind, **options):
  (folder / "train.jsonl").write_bytes(content)
  return inputs.prepared(inputs.jsonl, kind, **options)(folder)


ODD = {
  "a BOM": b"\xef\xbb\xbf" + inputs.PAIR.encode(),
  "CRLF": inputs.PAIR.encode().replace(b"\n", b"\r\n"),
  "no end of line": inputs.PAIR.encode().strip(),
  "blank lines": b"\n \r\n" + inputs.PAIR.encode() + b"\n\n",
  "one letter": inputs.pair(anchor="a").encode(),
  "letters from right to left": inputs.pair(anchor="\u05e9\u05dc\u05d5\u05dd \u202eabc\u202c").encode(),
  "letters without a width": inputs.pair(anchor="\u200ba\u200d\ufeff\u2060").encode(),
  "a whole surrogate pair": inputs.pair(anchor="\ud83d\ude00").encode(),
  "a noncharacter": inputs.pair(anchor="\uffff\U0010ffff").encode(),
  "a thousand marks on a letter": inputs.pair(anchor="a" + "\u0301" * 1000).encode(),
  "a megabyte of one word": inputs.pair(anchor="a" * 10**6).encode(),
  "a megabyte of words": inputs.pair(anchor="a note " * 150_000).encode(),
  "a field twice": b'{"anchor": "x", "anchor": "a note", "positive": "the moon"}\n',
  "other fields, deep ones too": inputs.pair(more=json.loads(inputs.deep(500))).encode(),
  "NaN for a grade, as pandas writes a missing one": inputs.pair(score=math.nan).encode(),
  "NaN for ids and the language": inputs.pair(anchor_id=math.nan, positive_id=math.nan, language=math.nan).encode(),
  "a whole number of 4000 digits elsewhere": inputs.pair(more=10**4000).encode(),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_row_is_a_row(name, tmp_path):
  found = prepare(tmp_path, ODD[name], data.Pairs())
  assert found.report["examples"] == 1 and found.report["texts"] == 2 and found.report["longest"] <= 16


def test_100_000_labels_and_ids(tmp_path):
  rows = "".join(f'{{"text": "a note {i % 7}", "labels": "{i}", "id": {i}}}\n' for i in range(100_000))
  found = prepare(tmp_path, rows.encode(), data.SameLabel())
  assert found.report["labels"] == 100_000 and found.report["texts"] == 7
  assert found.keys.shape[0] == 100_000 and found.keys.shape[1] <= 4


def test_bad_rows_are_skipped_and_counted(tmp_path):
  bad = [row for row in table._JSONL if row[1] is table.PAIRS and b"\n" not in _bytes(row[2]).strip(b"\n")]
  odd = ("random", "blank", "UTF-16")  # of several lines
  lines = [_bytes(row[2]) for row in bad if 0 < len(row[2]) < 2**20 and not row[0].startswith(odd)]
  good = inputs.pair(negatives="x").encode()
  content = b"".join(line.rstrip(b"\n") + b"\n" + good for line in lines)
  found = prepare(tmp_path, content, table.PAIRS, on_bad_row="skip")
  # Two of the lines are good by themselves, only not as a file: without negatives, and with half of a row after.
  assert found.report["examples"] >= len(lines) and len(lines) > 40
  assert found.report["rows"] == found.report["examples"] + sum(found.report["skipped"].values())


def _bytes(content) -> bytes:
  return content if isinstance(content, bytes) else content.encode()


ANY_JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
  lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
  max_leaves=5,
)
FIELDS = ("anchor", "positive", "negatives", "score", "anchor_id", "positive_id", "language", "text", "labels", "id")
FIELDS += ("text_a", "text_b")
KINDS = [data.Pairs(negatives="negatives"), data.SameLabel(), data.Crops(), data.Scored(), data.Translations()]


@settings(max_examples=200, deadline=None)
@given(
  row=st.dictionaries(st.sampled_from(FIELDS), ANY_JSON | st.just("a note"), min_size=2), kind=st.sampled_from(KINDS)
)
def test_whatever_a_row_holds_it_is_an_example_or_a_bad_row(row, kind):
  try:
    example = kind.parse("here:1", row)
  except data.BadRow as bad:
    assert str(bad).startswith("here:1: ") and len(str(bad)) < 1000
    return
  for text in (example["anchor"], example["positive"] or "a", *example["negatives"], *example["labels"]):
    assert text.strip() and text.encode() and "\0" not in text
  assert example["score"] is None or math.isfinite(example["score"])
  assert len(example["labels"]) <= 256 and example["language"].isprintable()


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
def test_whatever_bytes_a_file_holds_its_lines_are_rows_or_bad_rows(content):
  with tempfile.TemporaryDirectory() as name:
    (Path(name) / "train.jsonl").write_bytes(content)
    bad = []
    rows = list(data.Jsonl(name).rows("train", bad.append))
  assert len(rows) + len(bad) == sum(bool(line.strip()) for line in content.split(b"\n"))


def test_a_token_past_the_table_is_text(tmp_path):
  """Gemma 3's tokenizer has one for images; a stranger who wrote its name got a vector of NaN."""
  added = {"content": "<image>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
  settings_ = json.loads((inputs.small_model() / "tokenizer.json").read_text())
  settings_["added_tokens"] += [added | {"special": True, "id": len(settings_["model"]["vocab"])}]
  inputs.copied(inputs.small_model, inputs.put("tokenizer.json", json.dumps(settings_)))(tmp_path)
  vectors = embedder.load(tmp_path).encode(["<image>", "<image> a note", ""])
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_links_of_the_hubs_cache_are_its_own(tmp_path):
  blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123"
  shutil.copytree(inputs.small_model(), snapshot)
  blobs.mkdir()
  (snapshot / "model.safetensors").rename(blobs / "ffff")
  (snapshot / "model.safetensors").symlink_to("../../blobs/ffff")
  assert embedder.load(snapshot).encode(["a"]).shape == (1, 4)
  (snapshot / "model.safetensors").unlink()
  (snapshot / "model.safetensors").symlink_to("../../../elsewhere")
  with pytest.raises(ValueError, match="outside of the model"):
    embedder.load(snapshot)


def test_weights_that_are_huge_in_the_header_take_no_memory(tmp_path):
  entry = {"dtype": "F32", "shape": [2**20, 2**18], "data_offsets": [0, 2**40]}
  inputs.copied(inputs.small_model, inputs.put("model.safetensors", inputs.safetensors({"a": entry})))(tmp_path)
  tracemalloc.start()
  with pytest.raises(ValueError, match="is not a whole safetensors file"):
    embedder.load(tmp_path)
  assert tracemalloc.get_traced_memory()[1] < 2**26
  tracemalloc.stop()


def run(*arguments: str) -> subprocess.CompletedProcess:
  return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", ["embed", "mine", "main"])
def test_the_commands_answer_with_exit_code_2(command, tmp_path):
  model, rows = tmp_path / "model", tmp_path / "train.jsonl"
  inputs.copied(inputs.small_model, inputs.weights(table._nan))(model)
  rows.write_text(inputs.PAIR + '{"anchor": "\x1b[2J' + "x" * 10**5 + '"}\n')
  if command == "embed":
    inputs.put("train.jsonl", inputs.pair(text="a"))(tmp_path)
    done = run("mtc.embed", f"--model={model}", f"--input={rows}", f"--output={tmp_path / 'a.npy'}")
    words = "holds NaN or infinity"
  elif command == "mine":
    inputs.put("train.jsonl", inputs.PAIR * 2)(tmp_path)
    done = run("mtc.mine", f"--model={model}", f"--input={rows}", f"--output={tmp_path / 'hard.jsonl'}")
    words = "holds NaN or infinity"
  else:
    config = "from mtc import data\nfrom mtc.config import *\nfrom mtc.models import ModelSpec\n"
    config += f"def get_config():\n  task = Task(data.Jsonl({str(tmp_path)!r}), data.Pairs())\n"
    config += "  return Experiment(tasks={'a': task}, model=ModelSpec(vocab_size=1000), input='threads')\n"
    inputs.put("c.py", config)(tmp_path)
    done = run("mtc.main", f"--config={tmp_path / 'c.py'}", f"--workdir={tmp_path / 'run'}")
    words = "train.jsonl:2: broken JSON"
  assert done.returncode == 2, done.stderr[-2000:]
  assert words in done.stderr and "Traceback" not in done.stderr
  assert "\x1b" not in done.stderr and len(done.stderr) < 10_000


@pytest.mark.slow
def test_a_minute_of_fuzzing_finds_nothing():
  """Ten minutes: python tests/fuzz_hostile.py --seconds 600 --seed 0"""
  script = Path(__file__).parent / "fuzz_hostile.py"
  done = subprocess.run([sys.executable, str(script), "--seconds=60", "--seed=7"], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout
