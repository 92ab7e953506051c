"""Texts to vectors: an export loads as it was, a vector depends on its text alone, files go on where they stopped."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import types

import huggingface_hub
import jax
import numpy as np
import pytest

import mtc
from mtc import data, models
from mtc.data import read_texts
from mtc.embedder import embedder as embedder_lib, grids as grids_lib, partial, save as save_lib
from mtc.embedder.embedder import Embedder
from mtc.embedder.partial import PartialNpy
from mtc.embedder.vector_files import embed_file
from mtc.models import ModelSpec
from mtc.types import Tokens

SPEC = ModelSpec(layers=2, width=16, heads=2, mlp_width=32, positions=160, dim=8, dropout=0.0, dtype="float32")


@pytest.fixture(scope="module")
def embedder(tokenizer):
  config = models.scratch_config(SPEC, 0) | {"vocab_size": tokenizer.get_vocab_size()}
  encoder = models.build(config, SPEC)
  params = jax.tree.map(lambda x: x * 4 if x.ndim > 1 else x, encoder.init(jax.random.key(0)))
  prompts = {"query": "search: ", "document": ""}
  return Embedder(encoder, params, config, SPEC, tokenizer, prompts, max_length=150)


@pytest.fixture(scope="module")
def exported(embedder, tmp_path_factory):
  directory = tmp_path_factory.mktemp("model") / "export"
  save_lib.write(embedder, directory)
  return directory


def test_vectors_have_unit_length_and_the_order_of_the_texts(embedder, texts):
  vectors = embedder.encode(texts)
  assert vectors.shape == (len(texts), 8) and vectors.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
  np.testing.assert_allclose(embedder.encode(texts[::-1]), vectors[::-1], atol=1e-6)


def test_a_vector_does_not_depend_on_the_other_texts(embedder, texts):
  together = embedder.encode([*texts, "long " * 140])
  for i in (0, 7, len(texts) - 1):
    np.testing.assert_allclose(embedder.encode([texts[i]])[0], together[i], atol=1e-6)
  np.testing.assert_allclose(embedder.encode(["long " * 140])[0], together[-1], atol=1e-6)


def test_blocks_are_as_the_whole(embedder, texts, monkeypatch):
  whole = embedder.encode(texts)
  monkeypatch.setattr(embedder_lib, "BLOCK", 50)
  monkeypatch.setattr(grids_lib, "_CPU_TOKENS", 256)
  np.testing.assert_allclose(embedder.encode(texts), whole, atol=1e-6)


def test_the_last_grid_holds_what_is_left(embedder, monkeypatch):
  compiled, rows = embedder_lib._compiled, []

  def counted(encoder):
    function = compiled(encoder)
    return lambda params, tokens: rows.append(tokens.ids.shape[1]) or function(params, tokens)

  monkeypatch.setattr(embedder_lib, "_compiled", counted)
  monkeypatch.setattr(grids_lib, "_SHORT", 32)
  monkeypatch.setattr(grids_lib, "_CPU_TOKENS", 4 * 32)
  short = ["a"] * (4 * jax.local_device_count() * 9)  # four of a row, for nine rows of each device
  vectors = embedder.encode(short)
  assert rows == [4, 4, 1]
  np.testing.assert_allclose(vectors, np.repeat(embedder.encode(["a"]), len(short), 0), rtol=0, atol=1e-5)


def test_a_grid_has_no_more_slots_than_its_rows_hold_texts(embedder, monkeypatch):
  compiled, slots = embedder_lib._compiled, []

  def counted(encoder):
    function = compiled(encoder)
    return lambda params, tokens: slots.append(tokens.slots) or function(params, tokens)

  long, middle = "moon " * 140, "moon " * 18
  expected = embedder.encode([long, middle])
  monkeypatch.setattr(embedder_lib, "_compiled", counted)
  monkeypatch.setattr(grids_lib, "_SHORT", 16)
  np.testing.assert_allclose(embedder.encode([long])[0], expected[0], atol=1e-6)
  vectors = embedder.encode([long, *[middle] * 60])  # seven of them fit into a row of 150, which had 18 slots
  np.testing.assert_allclose(vectors, expected[[0, *[1] * 60]], atol=1e-6)
  assert slots == [2, 8]


def test_the_vector_is_the_encoders_own(embedder, texts):
  text = texts[3]
  ids = np.array([embedder.tokenizer.encode(text).ids], np.int32)
  one = np.ones_like(ids)
  tokens = Tokens(ids=ids, segment=one, position=np.cumsum(one, 1) - 1, slots=1)
  vector = np.asarray(
    embedder.encoder.pool(embedder.params, embedder.encoder.apply(embedder.params, tokens, None), tokens)
  )[0]
  np.testing.assert_allclose(embedder.encode([text])[0], vector / np.linalg.norm(vector), atol=1e-6)


def test_role_dim_and_no_texts(embedder, texts):
  few = texts[:5]
  np.testing.assert_allclose(
    embedder.encode(few, role="query"), embedder.encode([f"search: {t}" for t in few]), atol=1e-6
  )
  assert np.abs(embedder.encode(few, role="query") - embedder.encode(few)).max() > 1e-3
  cut = embedder.encode(few)[:, :3]
  np.testing.assert_allclose(embedder.encode(few, dim=3), cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)
  assert embedder.encode([]).shape == (0, 8)


@pytest.mark.parametrize(
  "arguments, message",
  [
    ({"role": "tweet"}, "role='tweet' is unknown.*query, document"),
    ({"dim": 9}, r"dim=9 is not in 1\.\.8"),
    ({"dim": 0}, "dim=0"),
    ({"dim": True}, "dim=True is no whole number; expected one in 1..8, or None"),
    ({"dim": 2.0}, r"dim=2\.0 is no whole number"),
    ({"dim": "3"}, "dim='3' is no whole number"),
    ({"dim": np.True_}, "dim=.*True.* is no whole number"),
    ({"dim": [3]}, r"dim=\[3\] is no whole number"),
    ({"dim": float("nan")}, "dim=nan is no whole number"),
    ({"role": None}, "role=None is unknown.*query, document"),
    ({"role": ["query"]}, r"role=\['query'\] is unknown"),
    ({"role": 1}, "role=1 is unknown"),
  ],
)
def test_bad_arguments(embedder, arguments, message):
  for texts in (["text"], []):
    with pytest.raises(ValueError, match=message):
      embedder.encode(texts, **arguments)
  with pytest.raises(ValueError, match="expected a list"):
    embedder.encode("text")


@pytest.mark.parametrize("bad", [None, float("nan"), 3, b"text", "\ud83d", ["a", "pair"]])
def test_a_text_that_is_none_is_named_before_any_work(embedder, texts, monkeypatch, bad):
  monkeypatch.setattr(embedder_lib, "BLOCK", 20)
  monkeypatch.setattr(Embedder, "block", lambda *_: pytest.fail("it began"))
  for form in (list, tuple, iter):
    with pytest.raises(ValueError, match=r"^texts\[70\] is .*; expected a string"):
      embedder.encode(form([*texts[:70], bad, "the moon", None]))


def test_texts_of_every_form_have_the_same_vectors_in_order(embedder, texts, monkeypatch):
  monkeypatch.setattr(embedder_lib, "BLOCK", 20)
  few = [*texts[:50], "a\0b", ""]
  expected = embedder.encode(few)
  for form in (tuple, iter, np.array, lambda x: np.array(x, object), lambda x: [np.str_(text) for text in x]):
    np.testing.assert_array_equal(embedder.encode(form(few), dim=np.int64(8)), expected)
  assert embedder.encode(iter(()), dim=3).shape == (0, 3)


def test_an_export_loads_as_it_was(embedder, exported, texts):
  loaded = mtc.load(exported)
  assert loaded.prompts == embedder.prompts and loaded.max_length == 150 and loaded.width == 8
  for role in ("query", "document"):
    np.testing.assert_array_equal(loaded.encode(texts[:40], role=role), embedder.encode(texts[:40], role=role))
  long = ["moon " * 400]  # cut at the same token
  np.testing.assert_array_equal(loaded.encode(long), embedder.encode(long))


def test_bfloat16_is_near(embedder, exported, texts):
  vectors = mtc.load(exported, "bfloat16").encode(texts)
  whole = embedder.encode(texts)
  assert vectors.dtype == np.float32 and not np.array_equal(vectors, whole)
  np.testing.assert_allclose(vectors, whole, atol=0.02)
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
  with pytest.raises(ValueError, match="model.dtype='float64' is unknown; use one of float32, bfloat16"):
    mtc.load(exported, "float64")
  with pytest.raises(ValueError, match="model.dtype='half' is unknown"):
    mtc.load(exported, "half")


def test_weights_in_bfloat16_give_the_bits_of_those_that_are_rounded_in_each_call(exported, texts):
  held = mtc.load(exported, "bfloat16")
  assert held.params["backbone"]["layer_0"]["mlp_input"]["kernel"].dtype == "bfloat16"
  each = dataclasses.replace(held, params=mtc.load(exported).params)
  np.testing.assert_array_equal(held.encode(texts), each.encode(texts))


def test_a_plain_hugging_face_directory_loads_with_mean_pooling(embedder, tmp_path, texts):
  models.save_backbone(tmp_path, embedder.params["backbone"], embedder.config)
  data.tokenizer.save(embedder.tokenizer, tmp_path, max_length=160)
  assert mtc.load(tmp_path).encode(texts[:3]).shape == (3, 16)


def test_an_export_replaces_an_older_one_whole(embedder, exported):
  (exported / "left_over").write_text("")
  save_lib.write(embedder, exported)
  assert not (exported / "left_over").exists() and not exported.with_name("export.partial").exists()


def _write(path, texts):
  path.write_text("".join(json.dumps({"text": t, "n": i}) + "\n" for i, t in enumerate(texts)))
  return path


def _embed(embedder, source, output, stamp="one", dtype="float32", dim=0):
  return embed_file(
    embedder, source, output, field_name="text", role="document", dim=dim, dtype=dtype, stamp={"stamp": stamp}
  )


@pytest.mark.parametrize("dtype, dim", [("float32", 0), ("float16", 4)])
def test_a_file_of_texts_becomes_a_file_of_vectors(embedder, texts, tmp_path, dtype, dim):
  source = _write(tmp_path / "texts.jsonl", texts)
  assert _embed(embedder, source, tmp_path / "out.npy", dtype=dtype, dim=dim) == len(texts)
  vectors = np.load(tmp_path / "out.npy")
  assert vectors.dtype == dtype
  np.testing.assert_allclose(
    vectors, embedder.encode(texts, dim=dim or None), atol=1e-3 if dtype == "float16" else 1e-6
  )
  assert sorted(p.name for p in tmp_path.iterdir()) == ["out.npy", "out.npy.json", "texts.jsonl"]


def _interrupt_the_third_block(monkeypatch) -> list[int]:
  """Returns the sizes of the blocks that are encoded from now on."""
  block, calls = Embedder.block, []

  def counted(self, texts, *arguments):
    calls.append(len(texts))
    if len(calls) == 3:
      raise KeyboardInterrupt
    return block(self, texts, *arguments)

  monkeypatch.setattr(Embedder, "block", counted)
  return calls


def test_an_interrupted_file_goes_on_where_it_was(embedder, texts, tmp_path, monkeypatch):
  monkeypatch.setattr(embedder_lib, "BLOCK", 20)
  source = _write(tmp_path / "texts.jsonl", texts)
  calls = _interrupt_the_third_block(monkeypatch)
  with pytest.raises(KeyboardInterrupt):
    _embed(embedder, source, tmp_path / "out.npy")
  assert not (tmp_path / "out.npy").exists()
  before = len(calls)
  _embed(embedder, source, tmp_path / "out.npy")
  assert sum(calls[before:]) == len(texts) - 40, "the two finished blocks were embedded again"
  monkeypatch.undo()
  np.testing.assert_allclose(np.load(tmp_path / "out.npy"), embedder.encode(texts), atol=1e-6)


def test_other_work_does_not_go_on_from_what_is_left(embedder, texts, tmp_path, monkeypatch):
  monkeypatch.setattr(embedder_lib, "BLOCK", 20)
  source = _write(tmp_path / "texts.jsonl", texts)
  calls = _interrupt_the_third_block(monkeypatch)
  with pytest.raises(KeyboardInterrupt):
    _embed(embedder, source, tmp_path / "out.npy", stamp="one")
  before = len(calls)
  _embed(embedder, source, tmp_path / "out.npy", stamp="two")
  assert sum(calls[before:]) == len(texts)


@pytest.fixture
def grids(monkeypatch):
  """Small grids, and the tokens of each that is encoded from now on; `stop` raises in the place of one."""
  monkeypatch.setattr(grids_lib, "_SHORT", 32)
  monkeypatch.setattr(grids_lib, "_CPU_TOKENS", 4 * 32)
  # Every grid is yielded before the next one is begun, as it is where grids take long.
  monkeypatch.setattr(embedder_lib.ThreadPoolExecutor, "map", lambda self, *arguments: (yield from map(*arguments)))
  compiled, seen = embedder_lib._compiled, types.SimpleNamespace(tokens=[], stop=None)

  def counted(encoder):
    function = compiled(encoder)

    def encode(params, tokens):
      if len(seen.tokens) == seen.stop:
        raise KeyboardInterrupt
      seen.tokens.append(tokens.ids)
      return function(params, tokens)

    return encode

  monkeypatch.setattr(embedder_lib, "_compiled", counted)
  return seen


@pytest.fixture
def clock(monkeypatch, grids):
  """A clock by which a grid takes 25 seconds."""
  monkeypatch.setattr(partial, "monotonic", lambda: 25.0 * len(grids.tokens))


@pytest.mark.parametrize("dtype, dim", [("float32", 0), ("float16", 4)])
@pytest.mark.parametrize("stop", [4, 9])
def test_a_file_that_is_stopped_within_a_block_goes_on_to_the_same_bytes(
  embedder, texts, tmp_path, grids, clock, dtype, dim, stop
):
  source = _write(tmp_path / "texts.jsonl", [*texts[:900], *["moon " * 60] * 70])
  _embed(embedder, source, tmp_path / "whole.npy", dtype=dtype, dim=dim)
  every, grids.tokens[:] = list(grids.tokens), []
  grids.stop = stop
  with pytest.raises(KeyboardInterrupt):
    _embed(embedder, source, tmp_path / "out.npy", dtype=dtype, dim=dim)
  saved = json.loads((tmp_path / "out.npy.progress.json").read_text())
  assert saved["done"] == 0 and saved["grids"] == stop - stop % 3 < len(every)
  grids.tokens[:], grids.stop = [], None
  _embed(embedder, source, tmp_path / "out.npy", dtype=dtype, dim=dim)
  assert len(grids.tokens) == len(every) - saved["grids"]
  for found, expected in zip(grids.tokens, every[saved["grids"] :], strict=True):
    np.testing.assert_array_equal(found, expected)
  assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "out.npy",
    "out.npy.json",
    "texts.jsonl",
    "whole.npy",
    "whole.npy.json",
  ]


def test_a_save_within_a_block_comes_about_every_minute(embedder, texts, tmp_path, grids, clock, monkeypatch):
  save, saves = PartialNpy.save, []

  def counted(self, first, rows, new, state):
    saves.append((len(grids.tokens), int(new.sum()), state))
    save(self, first, rows, new, state)

  monkeypatch.setattr(PartialNpy, "save", counted)
  monkeypatch.setattr(embedder_lib, "BLOCK", 700)
  _embed(embedder, _write(tmp_path / "texts.jsonl", texts), tmp_path / "out.npy")
  at = [grid for grid, _, state in saves if not state["done"]]
  assert len(at) >= 2 and set(np.diff([0, *at])) == {3}, saves  # 75 seconds each
  assert [state["done"] for *_, state in saves if "grids" not in state] == [700, len(texts)]
  assert sum(rows for _, rows, _ in saves) == len(texts), "a row is written once"


def test_grids_of_another_layout_are_encoded_again(embedder, texts, tmp_path, grids, clock, monkeypatch):
  """As on another number of devices."""
  source = _write(tmp_path / "texts.jsonl", texts)
  grids.stop = 4
  with pytest.raises(KeyboardInterrupt):
    _embed(embedder, source, tmp_path / "out.npy")
  assert (tmp_path / "out.npy.progress.json").exists()
  grids.stop = None
  monkeypatch.setattr(grids_lib, "_CPU_TOKENS", 8 * 32)
  _embed(embedder, source, tmp_path / "out.npy")
  _embed(embedder, source, tmp_path / "whole.npy")
  assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_what_other_work_has_overwritten_is_not_gone_on_from(embedder, texts, tmp_path, grids, clock):
  source = _write(tmp_path / "texts.jsonl", texts)
  for stamp, stop in (("one", 4), ("two", 5), ("one", None)):  # "two" is stopped before it has saved anything
    grids.stop = stop
    with pytest.raises(KeyboardInterrupt) if stop else contextlib.nullcontext():
      _embed(embedder, source, tmp_path / "out.npy", stamp)
  np.testing.assert_allclose(np.load(tmp_path / "out.npy"), embedder.encode(texts), atol=1e-6)


KILLED = """
import os, signal, sys
from pathlib import Path
from mtc.embedder import embedder, grids as grids_lib, partial, vector_files

partial.SECONDS, grids_lib._CPU_TOKENS, grids_lib._SHORT = 0, 128, 32
compiled, grids, stop = embedder._compiled, [], int(sys.argv[4])

def counted(encoder):
  def encode(params, tokens):
    if len(grids) == stop:
      os.kill(os.getpid(), signal.SIGKILL)
    grids.append(tokens)
    return compiled(encoder)(params, tokens)
  return encode

embedder._compiled = counted
vector_files.embed_file(
  embedder.load(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), field_name="text", role="query", dim=0,
  dtype="float32", stamp={"stamp": "one"},
)
print(len(grids))
"""


def test_a_file_whose_process_is_killed_within_a_block_goes_on_to_the_same_bytes(exported, texts, tmp_path):
  source = _write(tmp_path / "texts.jsonl", texts)

  def run(name, stop):
    command = [sys.executable, "-c", KILLED, str(exported), str(source), str(tmp_path / name), str(stop)]
    done = subprocess.run(command, env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"}, capture_output=True, text=True)
    return done.returncode, done.stdout.strip()

  code, every = run("whole.npy", -1)
  assert code == 0
  assert run("out.npy", 12) == (-signal.SIGKILL, "")
  saved = json.loads((tmp_path / "out.npy.progress.json").read_text())
  assert saved["done"] == 0 and 1 <= saved["grids"] <= 12
  assert run("out.npy", -1) == (0, str(int(every) - saved["grids"]))
  assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


@pytest.mark.parametrize("progress", [True, False])
def test_the_bar_moves_within_a_block(embedder, texts, grids, monkeypatch, progress):
  update, counts = embedder_lib.Bar.update, []
  monkeypatch.setattr(embedder_lib.Bar, "update", lambda self, count: counts.append(count) or update(self, count))
  embedder.encode(texts, progress=progress)
  assert len(counts) == len(grids.tokens) > 5 and sum(counts) == len(texts)


def test_a_vector_that_is_not_finite_is_named(embedder, texts, tmp_path, monkeypatch):
  compiled = embedder_lib._compiled
  few = [*texts[:60], "long " * 140, *texts[60:100]]

  def broken(encoder):
    function = compiled(encoder)

    def encode(params, tokens):
      found = np.array(function(params, tokens))
      return found * np.nan if tokens.ids.shape[-1] > grids_lib._SHORT else found

    return encode

  monkeypatch.setattr(embedder_lib, "_compiled", broken)
  words = "the vector of text 60 holds NaN or infinity: 'long long .*; check the model's weights"
  with pytest.raises(ValueError, match=words):
    embedder.encode(few)
  monkeypatch.setattr(embedder_lib, "BLOCK", 30)  # then it is the first text of the third block
  with pytest.raises(ValueError, match=words):
    embedder.encode(few)
  with pytest.raises(ValueError, match=words):
    _embed(embedder, _write(tmp_path / "texts.jsonl", few), tmp_path / "out.npy")


def test_texts_of_each_kind_of_file(tmp_path):
  import gzip

  import pyarrow
  from pyarrow import parquet

  (tmp_path / "a.txt").write_bytes("one\r\ntwo ü\n".encode())
  (tmp_path / "a.txt.gz").write_bytes(gzip.compress((tmp_path / "a.txt").read_bytes()))
  with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
    file.write('{"body": "one"}\n{"body": "two ü"}\n')
  parquet.write_table(pyarrow.table({"body": ["one", "two ü"]}), tmp_path / "a.parquet")
  for name in ("a.txt", "a.txt.gz", "a.jsonl.gz", "a.parquet"):
    assert list(read_texts(tmp_path / name, "body")) == ["one", "two ü"], name


@pytest.mark.parametrize(
  "name, content, message",
  [
    ("a.jsonl", '{"text": "x"}\n{"txt": "y"}\n', r"a\.jsonl:2: field 'text' is missing .the row has txt"),
    ("a.jsonl", '{"text": 3}\n', r"a\.jsonl:1: field 'text' is not a string .got 3, an int"),
    ("a.jsonl", "{broken\n", r"a\.jsonl:1: broken JSON"),
    ("a.csv", "text\n", "unknown kind; use .jsonl"),
    ("a.jsonl", "", "holds no text"),
  ],
)
def test_bad_files(embedder, tmp_path, name, content, message):
  (tmp_path / name).write_text(content)
  with pytest.raises(ValueError, match=message):
    _embed(embedder, tmp_path / name, tmp_path / "out.npy")


def test_importing_mtc_costs_nothing():
  code = "import sys, mtc; print([m for m in ('jax', 'numpy', 'transformers', 'tensorflow') if m in sys.modules])"
  assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_name_on_the_hub_is_loaded_like_its_directory(exported, texts, monkeypatch):
  asked = []

  def snapshot_download(name, **_):
    asked.append(name)
    return str(exported)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
  np.testing.assert_array_equal(mtc.load("someone/something").encode(texts), mtc.load(exported).encode(texts))
  assert asked == ["someone/something"]


def test_a_name_that_cannot_be_had_is_told_as_it_was_typed(tmp_path, monkeypatch):
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
  with pytest.raises(ValueError, match="^the model someone/something is not a directory here and could not be had"):
    mtc.load("someone/something")


@pytest.mark.torch
def test_sentence_transformers_loads_the_export_and_gives_the_same_vectors(embedder, exported, texts):
  sentence_transformers = pytest.importorskip("sentence_transformers")
  theirs = sentence_transformers.SentenceTransformer(str(exported), device="cpu")
  few = [*texts[:60], "moon " * 400]
  np.testing.assert_allclose(theirs.encode(few), embedder.encode(few), atol=1e-5)
  np.testing.assert_allclose(theirs.encode(few, prompt_name="query"), embedder.encode(few, role="query"), atol=1e-5)
