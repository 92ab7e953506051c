"""mtc-mini: the encoder that the package brings."""

import os
from pathlib import Path
import subprocess
import sys
import tomllib

import jax
import numpy as np
import pytest
import yaml

import mtc
from mtc import models
from mtc.contenders import parse

ROOT = Path(mtc.__file__).parent.parent


@pytest.fixture(scope="module")
def mini():
  return mtc.load("mtc-mini")


def test_it_is_as_small_as_it_says(mini):
  parameters = sum(leaf.size for leaf in jax.tree.leaves(mini.params))
  assert parameters == 7_864_320
  assert (models.directory_of("mtc-mini") / "model.safetensors").stat().st_size < 16e6
  card = (models.directory_of("mtc-mini") / "README.md").read_text(encoding="utf-8")
  assert "7.86 M parameters" in card and "configs/mini.py" in card
  assert yaml.safe_load(card.split("---\n")[1])["license"] == "other"  # which the hub reads


def test_it_tells_texts_apart_by_their_rare_words(mini):
  vectors = mini.encode(["the earthquake in lisbon", "lisbon was hit by an earthquake", "the cat in the house"])
  assert vectors.shape == (3, 640)
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
  alike = vectors @ vectors.T
  assert alike[0, 1] > 0.6 > 0.3 > alike[0, 2]


@pytest.mark.parametrize(
  "text", ["Größe", "здравствуйте", "こんにちは世界", "안녕하세요", "नमस्ते", "สวัสดี", "مرحبا", "გამარჯობა"]
)
def test_it_knows_the_letters_of_many_languages(mini, text):
  unknown = mini.tokenizer.token_to_id("[UNK]")
  assert unknown not in mini.tokenizer.encode(text).ids


def test_the_name_is_that_of_the_package_s_unless_a_directory_is_called_so(tmp_path, monkeypatch):
  brought = models.directory_of("mtc-mini")
  assert models.resolve("mtc-mini") == brought == Path(mtc.__file__).parent / "mini"
  assert [contender.name for contender in parse(["mtc-mini"], "", lambda **_: None)] == ["mtc-mini"]
  monkeypatch.chdir(tmp_path)
  assert models.directory_of("mtc-mini") == brought
  (tmp_path / "mtc-mini").mkdir()
  assert models.directory_of("mtc-mini") == Path("mtc-mini")
  assert models.directory_of("~nobody-is-called-so/a") == Path("~nobody-is-called-so/a")
  (tmp_path / "~").mkdir()
  assert models.directory_of("~/a").is_absolute() and models.directory_of("./~") == Path("~")


def test_its_first_dimensions_are_an_embedding_too(mini):
  vectors = mini.encode(["an earthquake in lisbon", "the moon"], dim=2)
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_file_is_embedded_with_it(tmp_path):
  (tmp_path / "posts.jsonl").write_text('{"text": "an earthquake in lisbon"}\n')
  command = [
    sys.executable,
    "-m",
    "mtc.embed",
    "--model",
    "mtc-mini",
    "--input",
    "posts.jsonl",
    "--output",
    "posts.npy",
  ]
  done = subprocess.run(
    command, cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr[-2000:]
  np.testing.assert_allclose(
    np.load(tmp_path / "posts.npy"), mtc.load("mtc-mini").encode(["an earthquake in lisbon"]), atol=1e-5
  )


def test_an_installed_package_brings_all_of_it():
  with open(ROOT / "pyproject.toml", "rb") as file:
    globs = tomllib.load(file)["tool"]["setuptools"]["package-data"]["mtc"]
  packed = {path for glob in globs for path in (ROOT / "mtc").glob(glob) if path.is_file()}
  assert packed == {path for path in (ROOT / "mtc" / "mini").rglob("*") if path.is_file()}
