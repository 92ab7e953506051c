"""Weights of 4-bit blocks: stored in 4 bits, read as the same float16 numbers, and what is refused."""

import json
import shutil
import struct

import jax
import numpy as np
import pytest

import mtc
from mtc import models
from mtc.embedder import save
from mtc.embedder.embedder import Embedder
from mtc.embedder.shrinking import Shrinking, shrink
from mtc.models import gguf_file


def blocks(rows: int, columns: int, seed: int = 0) -> np.ndarray:
  """f16[rows, columns] as `q * d`: 4 bits q and one float16 scale d for 32 weights; the largest has q = -8."""
  rng = np.random.default_rng(seed)
  q = rng.integers(-7, 8, (rows, columns // 32, 32))
  q[..., rng.integers(32)] = -8
  d = rng.uniform(-0.1, 0.1, (rows, columns // 32, 1)).astype(np.float16)
  d[0, 0] = 0  # a block of zeros
  return (q * d.astype(np.float32)).astype(np.float16).reshape(rows, columns)


def read(path):
  return {tensor.name: (tensor.dtype, tensor.read()) for tensor in gguf_file.stored(path)}


def test_blocks_take_4_bits_and_keep_every_number(tmp_path):
  tensors = {"table": blocks(64, 96), "bias": np.linspace(-1, 1, 96, dtype=np.float16)}
  tensors["other"] = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float16)  # not of blocks
  tensors["narrow"] = np.ones((3, 5), np.float16)
  gguf_file.write(tmp_path / "m.gguf", tensors)
  found = read(tmp_path / "m.gguf")
  assert {name: dtype for name, (dtype, _) in found.items()} == {
    "table": "Q4_0",
    "bias": "F16",
    "other": "F16",
    "narrow": "F16",
  }
  for name, (_, value) in found.items():
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, tensors[name].astype(np.float32))
  (table,) = (tensor for tensor in gguf_file.stored(tmp_path / "m.gguf") if tensor.name == "table")
  assert table.packed.nbytes == 64 * 96 // 32 * 18
  turned = table.read(transposed=True)
  assert turned.flags.c_contiguous
  np.testing.assert_array_equal(turned, tensors["table"].T)


def test_what_is_not_of_blocks_or_not_float16_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no matrix of this model consists of 4-bit blocks"):
    gguf_file.write(tmp_path / "m.gguf", {"a": np.random.default_rng(1).normal(size=(8, 64)).astype(np.float16)})
  with pytest.raises(ValueError, match="a holds numbers that float16 does not have"):
    gguf_file.write(tmp_path / "m.gguf", {"a": np.full((8, 64), 1e6, np.float32)})


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "count", "nan"])
def test_a_broken_file_is_refused(tmp_path, damage):
  path = tmp_path / "m.gguf"
  gguf_file.write(path, {"table": blocks(64, 96)})
  whole = path.read_bytes()
  path.write_bytes(
    {
      "empty": b"",
      "text": b"no weights",
      "cut": whole[: len(whole) // 2],
      "count": whole[:8] + struct.pack("<Q", 2**60) + whole[16:],
      "nan": whole[:-18] + b"\x00\x7e" + whole[-16:],
    }[damage]
  )
  with pytest.raises(ValueError, match=r"m\.gguf (is not a whole GGUF file|holds NaN)|table in .*m\.gguf holds NaN"):
    read(path)


@pytest.fixture(scope="module")
def quantised(tokenizer, tmp_path_factory):
  """A model directory of float16 weights whose matrices are of 4-bit blocks."""
  spec = models.ModelSpec(layers=1, width=32, heads=2, mlp_width=64, positions=64, dim=0, dtype="float32")
  config = models.scratch_config(spec, 0) | {"vocab_size": tokenizer.get_vocab_size()}
  encoder = models.build(config, spec)
  params = jax.tree.map(
    lambda x: np.float32(blocks(*x.shape[::-1]).T if x.ndim == 2 and not x.shape[0] % 32 else np.float16(x)),
    encoder.init(jax.random.key(0)),
  )
  embedder = Embedder(encoder, params, config, spec, tokenizer, {"query": "", "document": ""}, max_length=64)
  directory = tmp_path_factory.mktemp("quantised") / "model"
  save.write(embedder, directory, dtype="float16")
  return directory


def test_a_model_is_exported_in_4_bits_and_gives_the_same_vectors(quantised, tmp_path):
  save.write(mtc.load(quantised), tmp_path / "small", dtype="q4_0")
  small, large = mtc.load(tmp_path / "small"), mtc.load(quantised)
  jax.tree.map(np.testing.assert_array_equal, small.params, large.params)
  texts = ["the new tram runs to the harbour", "bakers"]
  np.testing.assert_array_equal(small.encode(texts), large.encode(texts))
  assert models.stored_dtype(tmp_path / "small") == "q4_0" and models.stored_dtype(quantised) == "float16"
  assert models.stored_bytes(tmp_path / "small") < models.stored_bytes(quantised)
  assert not (tmp_path / "small/model.safetensors").exists()
  # and back again, for other tools
  save.write(small, tmp_path / "whole", dtype="float16")
  jax.tree.map(np.testing.assert_array_equal, mtc.load(tmp_path / "whole").params, large.params)


def test_the_card_of_4_bits_names_no_tool_that_cannot_read_them(quantised, tmp_path):
  for dtype in ("q4_0", "float16"):
    assert shrink(str(quantised), tmp_path / dtype, Shrinking(layers=(0,)), dtype)["dtype"] == dtype
    card = (tmp_path / dtype / "README.md").read_text("utf-8")
    assert ("import SentenceTransformer" in card) == (dtype == "float16")
    assert ("--dtype float16" in card) == (dtype == "q4_0")


def test_other_numbers_in_the_file_are_refused(quantised, tmp_path):
  shutil.copytree(quantised, tmp_path / "model")
  (tmp_path / "model/model.safetensors").unlink()
  (tmp_path / "model/model.gguf").write_bytes(b"GGUF")
  with pytest.raises(ValueError, match=r"model\.gguf is not a whole GGUF file"):
    mtc.load(tmp_path / "model")
  save.write(mtc.load(quantised), tmp_path / "small", dtype="q4_0")
  config = json.loads((tmp_path / "small/config.json").read_text())
  (tmp_path / "small/config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + 32}))
  with pytest.raises(ValueError, match="has shape .* expected"):
    mtc.load(tmp_path / "small")
