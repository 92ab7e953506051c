"""Words that start by their rarity."""

import jax
import numpy as np
import pytest

from mtc.models import ModelSpec, build, scratch_config, weigh_words
from mtc.types import Tokens

COUNTS = np.array([0, 5000, 900, 90, 9, 1, 1000, 3000], np.int64)


def made(dim: int, constant: float = 0.05, architecture: str = "modernbert"):
  spec = ModelSpec(
    architecture=architecture, layers=1, width=32, heads=2, mlp_width=32, vocab_size=8, dim=dim, dtype="float32"
  )
  config = scratch_config(spec, 0)
  encoder = build(config, spec)
  params = encoder.init(jax.random.key(1))
  return encoder, params, weigh_words(params, COUNTS, constant, jax.random.key(0))


def test_a_frequent_word_points_where_all_do_and_a_rare_one_does_not():
  _, _, weighed = made(dim=0)
  table = np.asarray(weighed["backbone"]["embeddings"]["word"]["embedding"])
  np.testing.assert_allclose(np.linalg.norm(table, axis=1), 0.02 * np.sqrt(32), rtol=1e-5)
  np.testing.assert_allclose(table.mean(1), 0, atol=1e-7)  # the norm that follows takes the mean away
  unit = table / np.linalg.norm(table, axis=1, keepdims=True)
  weight = 0.05 / (0.05 + COUNTS / COUNTS.sum())
  # Any two words share the common direction, each by its own part in it, and 1 of 7 directions by chance.
  common = np.sqrt(1 - weight**2)
  expected = common[1] * common[7]
  assert unit[1] @ unit[7] == pytest.approx(expected, abs=weight[1] * weight[7])
  assert abs(unit[0] @ unit[5]) < 0.6  # both are rare: all but at right angles
  order = np.argsort(-(unit @ unit[1]))
  assert order[:2].tolist() == [1, 7]  # the nearest to the most frequent is the next


@pytest.mark.parametrize("dim", [32, 5, 40])
def test_the_projection_removes_the_common_direction(dim):
  _, _, weighed = made(dim, constant=1e-9)  # every word that occurs is all common
  table = np.asarray(weighed["backbone"]["embeddings"]["word"]["embedding"])
  kernel = np.asarray(weighed["projection"]["kernel"])
  assert kernel.shape == (32, dim)
  assert np.abs(table[1:] @ kernel).max() < 1e-5 < np.abs(table[0] @ kernel).max()
  # At right angles to it nothing is stretched: a part of a rotation.
  assert np.linalg.svd(kernel, compute_uv=False).max() <= 1 + 1e-5


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_the_layers_start_by_adding_nothing_and_can_learn(architecture):
  """What comes out of the encoder is the normalised word (and in BERT its place), and what is silent learns."""
  encoder, _, weighed = made(dim=0, architecture=architecture)
  ids = np.array([[1, 5, 3]], np.int32)
  tokens = Tokens(ids=ids, segment=np.ones_like(ids), position=np.arange(3, dtype=np.int32)[None], slots=1)
  hidden = np.asarray(encoder.apply(weighed, tokens, None))
  embeddings = weighed["backbone"]["embeddings"]
  rows = np.asarray(embeddings["word"]["embedding"])[ids[0]]
  if architecture == "bert":
    rows = rows + np.asarray(embeddings["position"]["embedding"])[:3] + np.asarray(embeddings["type"]["embedding"])[0]
  rows = rows - rows.mean(1, keepdims=True)
  np.testing.assert_allclose(hidden, rows / rows.std(1, keepdims=True), rtol=1e-3, atol=2e-4)
  grads = jax.grad(lambda params: (encoder.apply(params, tokens, None)[0, :5] ** 2).sum())(weighed)["backbone"]
  layer = grads["layer_0"]
  for name in ("attention_output", "mlp_output"):
    assert np.abs(layer[name]["kernel"]).max() > 1e-6


def test_the_rest_stays_and_nothing_is_changed_in_place():
  _, params, weighed = made(dim=5)
  before, after = dict(params["backbone"]), dict(weighed["backbone"])
  assert before.pop("embeddings")["word"]["embedding"].shape == after["embeddings"]["word"]["embedding"].shape
  assert after.pop("embeddings").keys() == params["backbone"]["embeddings"].keys()
  same = jax.tree_util.tree_map_with_path(
    lambda path, a, b: bool((a == b).all()) != ("_output" in jax.tree_util.keystr(path)), before, after
  )
  assert jax.tree.all(same)
  assert not np.array_equal(params["projection"]["kernel"], weighed["projection"]["kernel"])


def test_the_spec_says_who_can_have_it():
  with pytest.raises(ValueError, match="rarity=0.001 must be 0 or, for an encoder from a seed"):
    ModelSpec(pretrained="somewhere", rarity=1e-3).validate()
  with pytest.raises(ValueError, match="rarity=-1"):
    ModelSpec(rarity=-1).validate()
  with pytest.raises(ValueError, match="tokenizer='here' is for an encoder from a seed"):
    ModelSpec(pretrained="somewhere", tokenizer="here").validate()
