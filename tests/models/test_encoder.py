"""Laws of the encoder, and golden numbers of a seeded one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.models import ModelSpec, build, scratch_config
from mtc.types import Tokens

SIZES = {"layers": 2, "width": 16, "heads": 4, "mlp_width": 32, "vocab_size": 50, "positions": 20, "dim": 6}
TEXTS = [[5, 9, 7], [8, 3, 3, 21, 40], [11], [12, 13, 49, 6]]


@functools.cache
def make(**overrides):
  spec = ModelSpec(**{**SIZES, "dtype": "float32", "dropout": 0.0, **overrides})
  encoder = build(scratch_config(spec, pad_id=0), spec)
  return encoder, encoder.init(jax.random.key(0))


@pytest.fixture(scope="module")
def small():
  encoder, params = make()
  # Far from the start, where all hidden states are alike and a leak between texts is small.
  rng = np.random.default_rng(0)
  return encoder, jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32), params)


@pytest.fixture(scope="module")
def padded(grid) -> Tokens:
  return grid([[text] for text in TEXTS], length=8, slots=1)


@pytest.fixture(scope="module")
def packed(grid) -> Tokens:
  return grid([[TEXTS[0], TEXTS[1]], [TEXTS[2], TEXTS[3]], []], length=8, slots=3)


@functools.partial(jax.jit, static_argnums=0)
def embed(encoder, params, tokens, key=None):
  return encoder.pool(params, encoder.apply(params, tokens, key), tokens)


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradient(encoder, params, tokens):
  return jax.value_and_grad(lambda params: jnp.sum(embed(encoder, params, tokens)[:2] ** 2))(params)


def test_packed_is_padded(small, padded, packed):
  found = embed(*small, packed)
  np.testing.assert_allclose(found[np.array([0, 1, 3, 4])], embed(*small, padded), rtol=0, atol=1e-5)


def test_a_text_does_not_depend_on_its_neighbours(small, grid):
  mine = embed(*small, grid([[TEXTS[0], TEXTS[1]]], length=8, slots=2))
  other = embed(*small, grid([[[41, 42, 43], TEXTS[1]]], length=8, slots=2))
  np.testing.assert_array_equal(mine[1], other[1])
  assert np.abs(mine[0] - other[0]).max() > 0.1


def test_order_within_a_text_counts(small, grid):
  forwards, backwards = (embed(*small, grid([[text]], length=5, slots=1)) for text in (TEXTS[1], TEXTS[1][::-1]))
  assert np.abs(forwards - backwards).max() > 0.1


def test_permuting_rows_permutes_embeddings(small, padded):
  order = np.array([2, 0, 3, 1])
  permuted = padded.replace(ids=padded.ids[order], segment=padded.segment[order], position=padded.position[order])
  np.testing.assert_allclose(embed(*small, permuted), embed(*small, padded)[order], rtol=0, atol=1e-6)


def test_ids_of_padding_change_nothing(small, packed):
  other = packed.replace(ids=np.where(packed.segment == 0, 17, packed.ids))
  np.testing.assert_array_equal(embed(*small, other), embed(*small, packed))


def test_shapes_and_types(small, packed):
  encoder, params = small
  hidden = encoder.apply(params, packed, None)
  assert (hidden.shape, hidden.dtype) == ((24, 16), jnp.float32)
  pooled = encoder.pool(params, hidden, packed)
  assert (pooled.shape, pooled.dtype) == ((9, 6), jnp.float32)


def test_no_projection_at_dim_0(packed):
  encoder, params = make(dim=0)
  assert set(params) == {"backbone"}
  assert embed(encoder, params, packed).shape == (9, 16)


def test_empty_slots_and_their_gradients_are_finite(packed):
  # Of the poolings one by one: test_pooling.py.
  encoder, params = make()
  assert np.isfinite(embed(encoder, params, packed)).all()
  _, gradient = loss_and_gradient(encoder, params, packed)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_key_none_is_no_dropout(padded):
  encoder, params = make(dropout=0.5)
  without, _ = make()
  np.testing.assert_array_equal(embed(encoder, params, padded), embed(without, params, padded))
  np.testing.assert_array_equal(embed(without, params, padded, jax.random.key(1)), embed(without, params, padded))


def test_dropout_follows_the_key(padded):
  encoder, params = make(dropout=0.5)
  first, again, other = (embed(encoder, params, padded, jax.random.key(seed)) for seed in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 1e-3
  assert np.abs(first - embed(encoder, params, padded)).max() > 1e-3


def test_dropout_is_where_bert_has_it(padded):
  encoder, params = make(dropout=0.5)
  traced = jax.make_jaxpr(lambda key: encoder.apply(params, padded, key))(jax.random.key(0))
  layer = [4 * 4 * 8 * 8, 32 * 16, 32 * 16]  # attention probabilities and the outputs of attention and MLP
  places = [e.outvars[0].aval for e in _equations(traced.jaxpr) if e.primitive.name == "iota"]
  found = [place.size for place in places if place.dtype == jnp.uint32]
  assert sorted(found) == sorted([32 * 16, *layer, *layer])


def test_bfloat16_matrix_products_are_in_bfloat16(padded):
  encoder, params = make(dtype="bfloat16")
  traced = jax.make_jaxpr(lambda params: encoder.apply(params, padded, None))(params)
  products = [equation for equation in _equations(traced.jaxpr) if equation.primitive.name == "dot_general"]
  assert len(products) == 2 * (6 + 2)  # of a layer: six dense layers, and two products of attention
  assert {value.aval.dtype for equation in products for value in equation.invars} == {jnp.dtype("bfloat16")}


def _equations(jaxpr):
  for equation in jaxpr.eqns:
    yield equation
    for inner in equation.params.values():
      inner = getattr(inner, "jaxpr", inner)
      if hasattr(inner, "eqns"):
        yield from _equations(inner)


def test_bfloat16_is_close_to_float32(small, packed):
  encoder, params = small
  half, _ = make(dtype="bfloat16")
  hidden = half.apply(params, packed, None)
  assert hidden.dtype == jnp.bfloat16
  exact = embed(encoder, params, packed)
  found = half.pool(params, hidden, packed)
  assert found.dtype == jnp.float32
  difference = np.abs(found - exact).max() / np.abs(exact).max()
  assert 0 < difference < 0.03  # bfloat16 has 8 bits: each rounding is up to 0.004


def test_gradients_of_bfloat16_are_float32(packed):
  encoder, params = make(dtype="bfloat16")
  gradient = jax.eval_shape(jax.grad(lambda params: jnp.sum(embed(encoder, params, packed))), params)
  assert {leaf.dtype for leaf in jax.tree.leaves((params, gradient))} == {jnp.dtype("float32")}


def test_fresh_parameters():
  _, params = make()
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    name = path[-1].key
    if name == "bias":
      assert not leaf.any()
    elif name == "scale":
      assert (leaf == 1).all()
    else:
      # The standard error of a mean of n is 0.02 / sqrt(n), of a standard deviation 0.02 / sqrt(2 n).
      assert abs(leaf.mean()) < 4 * 0.02 / np.sqrt(leaf.size)
      assert abs(leaf.std() - 0.02) < 4 * 0.02 / np.sqrt(2 * leaf.size)


def test_init_follows_the_key():
  encoder, params = make()
  assert jax.tree.all(jax.tree.map(np.array_equal, params, encoder.init(jax.random.key(0))))
  other = encoder.init(jax.random.key(1))
  for part in (("backbone", "layer_0", "query"), ("backbone", "layer_1", "mlp_input"), ("projection",)):
    mine, theirs = params, other
    for name in part:
      mine, theirs = mine[name], theirs[name]
    assert not np.array_equal(mine["kernel"], theirs["kernel"])


def test_an_id_past_the_vocabulary_is_seen(small, grid):
  # NaN, which stops a run, instead of the last row of the table, which spoils it unseen.
  assert np.isnan(embed(*small, grid([[[50]]], length=2, slots=1))).all()


def test_golden(packed):
  # Change these numbers only with a commit that says why the encoder computes something else.
  encoder, params = make()
  loss, gradient = loss_and_gradient(encoder, params, packed)
  found = embed(encoder, params, packed)[1]
  np.testing.assert_allclose(found, GOLDEN_EMBEDDING, rtol=0, atol=1e-6)
  norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
  np.testing.assert_allclose([loss, norm], GOLDEN_LOSS_AND_NORM, rtol=1e-5)


GOLDEN_EMBEDDING = [0.01229058, -0.08614949, 0.02156756, -0.07347724, -0.04232274, -0.03796502]
GOLDEN_LOSS_AND_NORM = [0.03169226, 2.0205076]
