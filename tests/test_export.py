"""Copies of a model directory: smaller ones, and its weights alone."""

import subprocess
import sys

import jax
import numpy as np
import safetensors.numpy

from mtc.embedder import save
from mtc.embedder.embedder import load


def test_a_copy_in_half_precision_is_half_as_large_and_nearly_the_same(make_embedder, texts, tmp_path):
  save.write(make_embedder(), tmp_path / "whole", card="# a card\n")
  command = ["--model", str(tmp_path / "whole"), "--output", str(tmp_path / "half"), "--dtype", "float16"]
  subprocess.run([sys.executable, "-m", "mtc.export", *command], check=True, capture_output=True)
  for name in ("model.safetensors", "2_Dense/model.safetensors"):
    whole, half = (safetensors.numpy.load_file(tmp_path / which / name) for which in ("whole", "half"))
    assert whole.keys() == half.keys() and {value.dtype for value in half.values()} == {np.dtype(np.float16)}
    for tensor, value in whole.items():
      np.testing.assert_array_equal(half[tensor], value.astype(np.float16))
  assert (tmp_path / "half" / "README.md").read_text() == "# a card\n"
  vectors = [load(tmp_path / which).encode(texts[:50], role="query") for which in ("whole", "half")]
  assert 1e-6 < np.abs(vectors[0] - vectors[1]).max() < 5e-3  # another file, and the same model


def test_a_copy_replaces_nothing(make_embedder, tmp_path):
  save.write(make_embedder(), tmp_path / "whole")
  (tmp_path / "there").mkdir()
  for output, said in (("there", "exists already"), ("no/copy", "no is not a directory")):
    command = ["--model", str(tmp_path / "whole"), "--output", str(tmp_path / output)]
    ended = subprocess.run([sys.executable, "-m", "mtc.export", *command], capture_output=True, text=True)
    assert ended.returncode == 2 and said in ended.stderr and "Traceback" not in ended.stderr


def test_flat_numpy_weights(make_embedder, tmp_path):
  embedder = make_embedder()
  names = save.write_numpy(embedder, tmp_path / "weights.npz")
  with np.load(tmp_path / "weights.npz") as flat:
    assert list(flat) == names and "projection/kernel" in names
    assert sum(flat[name].size for name in names) == sum(leaf.size for leaf in jax.tree.leaves(embedder.params))
    np.testing.assert_array_equal(flat["projection/kernel"], embedder.params["projection"]["kernel"])
  assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]
