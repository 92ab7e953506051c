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
from mtc.evaluation.systems import parse

ROOT = Path(mtc.__file__).parent.parent


@pytest.fixture(scope="module")
def mini():
  return mtc.load("mtc-mini")


def test_it_is_as_small_as_it_says(mini):
  parameters = sum(leaf.size for leaf in jax.tree.leaves(mini.params))
  assert parameters == 46_067_712
  directory = models.directory_of("mtc-mini")
  assert sum(path.stat().st_size for path in directory.rglob("*")) < 45e6
  card = (directory / "README.md").read_text(encoding="utf-8")
  assert "46.1 M parameters, in 26 MB" in card and (directory / "model.gguf").stat().st_size < 27e6
  assert yaml.safe_load(card.split("---\n")[1])["license"] == "mit"  # which the hub reads
  assert "Permission is hereby granted" in (directory / "LICENSE").read_text(encoding="utf-8")


def test_translations_are_nearer_than_other_texts(mini):
  texts = [
    "The museum opens a new wing for modern art.",
    "Das Museum eröffnet einen neuen Flügel für moderne Kunst.",
    "Музей открывает новое крыло современного искусства.",
    "博物馆开设了现代艺术新馆。",
    "The court rejects the appeal of the airline.",
  ]
  vectors = mini.encode(texts, role="query")
  assert vectors.shape == (5, 384)
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
  alike = vectors @ vectors.T
  assert alike[:4, :4].min() > alike[:4, 4].max() + 0.02
  np.testing.assert_allclose(np.linalg.norm(mini.encode(texts[:2], dim=50), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
  "text", ["Größe", "здравствуйте", "こんにちは世界", "한국", "नमस्ते", "สวัสดี", "مرحبا", "გამარჯობა"]
)
def test_it_knows_the_letters_of_many_languages(mini, text):
  unknown = mini.tokenizer.token_to_id("<unk>")
  assert unknown is not None and unknown not in mini.tokenizer.encode(text).ids


def test_its_prompts_are_those_of_e5(mini):
  assert dict(mini.prompts) == {"query": "query: ", "document": "passage: "} and mini.max_length == 512


def test_the_name_is_that_of_the_package_s_unless_a_directory_is_called_so(tmp_path, monkeypatch):
  brought = models.directory_of("mtc-mini")
  assert models.resolve("mtc-mini") == brought == Path(mtc.__file__).parent / "mini"
  assert [system.name for system in parse(["mtc-mini"], "", lambda **_: None)] == ["mtc-mini"]
  monkeypatch.chdir(tmp_path)
  assert models.directory_of("mtc-mini") == brought
  (tmp_path / "mtc-mini").mkdir()
  assert models.directory_of("mtc-mini") == Path("mtc-mini")
  assert models.directory_of("~nobody-is-called-so/a") == Path("~nobody-is-called-so/a")
  (tmp_path / "~").mkdir()
  assert models.directory_of("~/a").is_absolute() and models.directory_of("./~") == Path("~")


def test_a_file_is_embedded_with_it(mini, tmp_path):
  (tmp_path / "posts.jsonl").write_text('{"text": "an earthquake in lisbon"}\n')
  command = [sys.executable, "-m", "mtc.embed", "--model=mtc-mini", "--input=posts.jsonl", "--output=posts.npy"]
  done = subprocess.run(
    command, cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr[-2000:]
  np.testing.assert_allclose(np.load(tmp_path / "posts.npy"), mini.encode(["an earthquake in lisbon"]), atol=1e-5)


def test_an_installed_package_brings_all_of_it():
  with open(ROOT / "pyproject.toml", "rb") as file:
    globs = tomllib.load(file)["tool"]["setuptools"]["package-data"]["mtc"]
  packed = {path for glob in globs for path in (ROOT / "mtc").glob(glob) if path.is_file()}
  brought = [*(ROOT / "mtc/mini").rglob("*"), *(ROOT / "mtc/data/builtin/words").glob("*.txt")]
  assert packed == {path for path in brought if path.is_file()} and len(packed) > 10
