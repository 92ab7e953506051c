"""ModernBERT's config by its older and newer names, and what its rotary positions do."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtc.models import ModelSpec, rope, scratch_config
from mtc.models.architecture import sizes

SPEC = ModelSpec(architecture="modernbert", layers=4, width=16, heads=2, mlp_width=24, vocab_size=50, positions=20)


def config(**changes):
  return scratch_config(SPEC, pad_id=0) | changes


def test_every_third_layer_is_global():
  found = sizes(config())
  assert found.windows == (0, 64, 64, 0)
  assert found.thetas == (160_000.0, 10_000.0, 10_000.0, 160_000.0)


def test_older_names_and_newer_names_say_the_same():
  older = config(global_attn_every_n_layers=2, local_attention=10, global_rope_theta=7.0, local_rope_theta=5.0)
  newer = {
    name: value for name, value in config(local_attention=10).items() if "rope" not in name and "_n_" not in name
  }
  newer["layer_types"] = ["full_attention", "sliding_attention"] * 2
  newer["rope_parameters"] = {"full_attention": {"rope_theta": 7.0}, "sliding_attention": {"rope_theta": 5.0}}
  assert sizes(older) == sizes(newer)
  assert sizes(older).windows == (0, 5, 0, 5)
  without = {name: value for name, value in config().items() if "rope" not in name and "_n_" not in name}
  assert sizes(without) == sizes(config())


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"layer_types": ["full_attention"]}, r"layer_types=\['full_attention'\] of config.json are not 4 of"),
    ({"layer_types": ["linear"] * 4}, "full_attention, sliding_attention"),
    ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type 'yarn'"),
    ({"global_rope_theta": -1}, "rope_theta=-1"),
    ({"norm_eps": "small"}, "norm_eps='small'.* is not a positive number"),
    ({"num_attention_heads": 16}, "1 dimensions of a head are odd"),
    ({"hidden_activation": "swish"}, "'swish' of config.json is unknown; known are gelu"),
    ({"num_attention_heads": 3}, "does not divide into 3 heads"),
  ],
)
def test_a_config_that_it_cannot_be(change, message):
  with pytest.raises(ValueError, match=message):
    sizes(config(**change))


def test_rotation_by_hand():
  turns = rope.frequencies(4, 100.0)
  np.testing.assert_allclose(turns, [1.0, 0.1], rtol=1e-6)
  states = np.arange(8.0, dtype=np.float32).reshape(1, 1, 2, 4)
  found = rope.rotate(jnp.asarray(states), jnp.array([[0, 3]]), turns)
  # Dimensions 0 and 2, and 1 and 3, are the coordinates of points that turn by 3 and 0.3 radians.
  first = (4 + 6j) * np.exp(3j), (5 + 7j) * np.exp(0.3j)
  expected = [[0, 1, 2, 3], [first[0].real, first[1].real, first[0].imag, first[1].imag]]
  np.testing.assert_allclose(found[0, 0], expected, rtol=0, atol=1e-5)


def test_products_depend_on_distance_alone():
  rng = np.random.default_rng(0)
  query, key = (jnp.asarray(rng.normal(size=(1, 1, 1, 8)).astype(np.float32)) for _ in range(2))
  turns = rope.frequencies(8, 50.0)

  def product(i, j):
    return jnp.sum(rope.rotate(query, jnp.array([[i]]), turns) * rope.rotate(key, jnp.array([[j]]), turns))

  np.testing.assert_allclose(product(9, 4), product(105, 100), rtol=1e-4)
  assert abs(product(9, 4) - product(9, 5)) > 1e-2
