"""mtc-mini: the encoder that the package brings."""

from pathlib import Path

import jax
import numpy as np
import pytest

import mtc
from mtc import models
from mtc.contenders import parse


@pytest.fixture(scope="module")
def mini():
  return mtc.load("mtc-mini")


def test_it_is_as_small_as_it_says(mini):
  parameters = sum(leaf.size for leaf in jax.tree.leaves(mini.params))
  assert parameters == 7_734_784
  assert (models.directory_of("mtc-mini") / "model.safetensors").stat().st_size < 16e6
  card = (models.directory_of("mtc-mini") / "README.md").read_text(encoding="utf-8")
  assert "7.73 M parameters" in card and "configs/mini.py" in card


def test_it_tells_texts_apart_by_their_rare_words(mini):
  vectors = mini.encode(["the earthquake in lisbon", "lisbon was hit by an earthquake", "the cat in the house"])
  assert vectors.shape == (3, 512)
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
