"""Words that start by their rarity."""

import jax
import numpy as np
import pytest

from mtc.models import ModelSpec, build, scratch_config, weigh_words
from mtc.types import Tokens

CHANGED = ("_output", "final_norm")
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
  common = np.array([*[0] * 30, 1, -1]) / np.sqrt(2)
  np.testing.assert_allclose(unit @ common, np.sqrt(1 - weight**2), atol=1e-6)
  assert abs(unit[0] @ unit[5]) < 0.6  # both are rare: all but at right angles
  order = np.argsort(-(unit @ unit[1]))
  assert order[:2].tolist() == [1, 7]  # the nearest to the most frequent is the next


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_what_comes_out_is_each_word_by_its_rarity(architecture):
  """The common direction leaves no trace: a token's vector is as long as its word is rare."""
  encoder, _, weighed = made(dim=0, architecture=architecture)
  ids = np.arange(8, dtype=np.int32)[None]
  tokens = Tokens(ids=ids, segment=np.ones_like(ids), position=ids, slots=1)
  hidden = np.asarray(encoder.apply(weighed, tokens, None))
  weight = 0.05 / (0.05 + COUNTS / COUNTS.sum())
  np.testing.assert_allclose(np.linalg.norm(hidden, axis=1), np.sqrt(32) * weight, rtol=1e-3)
  np.testing.assert_array_equal(hidden[:, -2:], 0)  # the last ones, for the first may be all that is kept


def test_a_table_of_words_alone_needs_no_common_direction():
  encoder, params, weighed = made(dim=3, architecture="static")
  ids = np.arange(8, dtype=np.int32)[None]
  tokens = Tokens(ids=ids, segment=np.ones_like(ids), position=ids, slots=1)
  lengths = np.linalg.norm(np.asarray(encoder.apply(weighed, tokens, None)), axis=1)
  np.testing.assert_allclose(lengths, 0.02 * np.sqrt(32) * 0.05 / (0.05 + COUNTS / COUNTS.sum()), rtol=1e-5)
  assert weighed.keys() == params.keys() and weighed["projection"] is params["projection"]
  assert weighed["backbone"].keys() == params["backbone"].keys() == {"embeddings"}


def test_it_is_the_norm_of_the_last_layer_that_forgets_the_common_direction():
  spec = ModelSpec(architecture="bert", layers=3, width=32, heads=2, mlp_width=32, vocab_size=8, dtype="float32")
  params = build(scratch_config(spec, 0), spec).init(jax.random.key(1))
  backbone = weigh_words(params, COUNTS, 0.05, jax.random.key(0))["backbone"]
  scales = [float(backbone[f"layer_{index}"]["mlp_norm"]["scale"].sum()) for index in range(3)]
  assert scales == [32, 32, 30]


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_the_layers_start_by_adding_nothing_and_can_learn(architecture):
  """What comes out of the encoder is the normalised word, and what is silent learns."""
  encoder, _, weighed = made(dim=0, architecture=architecture)
  ids = np.array([[1, 5, 3]], np.int32)
  tokens = Tokens(ids=ids, segment=np.ones_like(ids), position=np.arange(3, dtype=np.int32)[None], slots=1)
  hidden = np.asarray(encoder.apply(weighed, tokens, None))
  rows = np.asarray(weighed["backbone"]["embeddings"]["word"]["embedding"])[ids[0]]
  rows = rows - rows.mean(1, keepdims=True)
  np.testing.assert_allclose(hidden[:, :-2], (rows / rows.std(1, keepdims=True))[:, :-2], rtol=1e-3, atol=2e-4)
  grads = jax.grad(lambda params: (encoder.apply(params, tokens, None)[0, :5] ** 2).sum())(weighed)["backbone"]
  layer = grads["layer_0"]
  for name in ("attention_output", "mlp_output"):
    assert np.abs(layer[name]["kernel"]).max() > 1e-6
  if architecture == "bert":
    for name in ("position", "type"):
      assert np.abs(grads["embeddings"][name]["embedding"][0]).max() > 1e-6


def test_the_rest_stays_and_nothing_is_changed_in_place():
  _, params, weighed = made(dim=5)
  before, after = dict(params["backbone"]), dict(weighed["backbone"])
  assert before.pop("embeddings")["word"]["embedding"].shape == after["embeddings"]["word"]["embedding"].shape
  assert after.pop("embeddings").keys() == params["backbone"]["embeddings"].keys()
  same = jax.tree_util.tree_map_with_path(
    lambda path, a, b: bool((a == b).all()) != any(part in jax.tree_util.keystr(path) for part in CHANGED),
    before,
    after,
  )
  assert jax.tree.all(same)
  assert params["projection"] is weighed["projection"]


def test_the_spec_says_who_can_have_it():
  with pytest.raises(ValueError, match="rarity=0.001 must be 0 or, for an encoder from a seed"):
    ModelSpec(pretrained="somewhere", rarity=1e-3).validate()
  with pytest.raises(ValueError, match="rarity=-1"):
    ModelSpec(rarity=-1).validate()
  with pytest.raises(ValueError, match="tokenizer='here' is for an encoder from a seed"):
    ModelSpec(pretrained="somewhere", tokenizer="here").validate()
