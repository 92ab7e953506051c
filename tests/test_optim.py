"""The schedule, the decay mask and the layer-wise rates, by hand."""

import jax
import numpy as np
import optax
import pytest

from mtc.optim import OptimSpec, count, decay_mask, layer_rates, make_optimizer, make_schedule, merge, split

PARAMS = {
  "encoder": {
    "backbone": {
      "embeddings": {"word": {"embedding": np.ones((3, 2), np.float32)}, "norm": {"scale": np.ones(2, np.float32)}},
      "layer_0": {"query": {"kernel": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)}},
      "layer_1": {"query": {"kernel": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)}},
    },
    "projection": {"kernel": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)},
  },
  "tasks": {"search": {"log_scale": np.float32(1)}},
}


@pytest.mark.parametrize(
  "decay, middle, last", [("cosine", 0.5, 0.00616), ("linear", 0.5, 0.05), ("constant", 1.0, 1.0)]
)
def test_schedule(decay, middle, last):
  rate = make_schedule(OptimSpec(learning_rate=1.0, warmup=0.2, decay=decay), 25)
  np.testing.assert_allclose([rate(i) for i in range(5)], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)
  assert float(rate(15)) == pytest.approx(middle, rel=1e-5)
  assert float(rate(24)) == pytest.approx(last, rel=1e-3)


def test_the_first_step_without_warmup_has_the_peak():
  assert float(make_schedule(OptimSpec(learning_rate=0.3, warmup=0.0), 10)(0)) == pytest.approx(0.3)


def test_biases_norms_and_scalars_of_losses_are_not_decayed():
  mask = {
    jax.tree_util.keystr(p, simple=True, separator="/"): m
    for p, m in jax.tree_util.tree_leaves_with_path(decay_mask(PARAMS))
  }
  assert {name for name, m in mask.items() if m} == {
    "encoder/backbone/embeddings/word/embedding",
    "encoder/backbone/layer_0/query/kernel",
    "encoder/backbone/layer_1/query/kernel",
    "encoder/projection/kernel",
  }


def test_layer_rates():
  rates = layer_rates(PARAMS, 0.5)
  backbone = rates["encoder"]["backbone"]
  assert backbone["layer_1"]["query"] == {"kernel": 1.0, "bias": 1.0}
  assert backbone["layer_0"]["query"] == {"kernel": 0.5, "bias": 0.5}
  assert backbone["embeddings"]["word"]["embedding"] == 0.25
  assert rates["encoder"]["projection"]["kernel"] == 1.0 and rates["tasks"]["search"]["log_scale"] == 1.0


def test_the_first_update_is_adamw_by_hand():
  spec = OptimSpec(learning_rate=0.1, warmup=0.0, decay="constant", weight_decay=0.5, clip_norm=0.0, layer_decay=0.5)
  optimizer = make_optimizer(spec, 10)
  grads = jax.tree.map(lambda x: np.full_like(x, 2.0), PARAMS)
  updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
  backbone = updates["encoder"]["backbone"]
  # Adam's first direction is the sign of the gradient, 1; decay adds 0.5 x the parameter, 1, to matrices.
  np.testing.assert_allclose(backbone["layer_1"]["query"]["kernel"], -0.1 * 1.5, rtol=1e-5)
  np.testing.assert_allclose(backbone["layer_1"]["query"]["bias"], -0.1, rtol=1e-5)
  np.testing.assert_allclose(backbone["layer_0"]["query"]["kernel"], -0.05 * 1.5, rtol=1e-5)


def test_clipping_is_by_the_norm_of_the_whole_gradient():
  grads = jax.tree.map(lambda x: np.full_like(x, 3.0), PARAMS)
  clip = optax.clip_by_global_norm(1.0)
  expected, _ = clip.update(grads, clip.init(PARAMS))
  spec = OptimSpec(
    learning_rate=1.0, warmup=0.0, decay="constant", weight_decay=0.0, clip_norm=1.0, b1=0.0, b2=0.0, eps=1e6
  )
  optimizer = make_optimizer(spec, 10)
  updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
  # With b1 = b2 = 0 and a huge eps, Adam is the gradient divided by eps.
  for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, -b / 1e6, rtol=1e-3)


@pytest.mark.parametrize(
  "field, value",
  [("learning_rate", 0.0), ("warmup", 1.5), ("decay", "step"), ("clip_norm", -1.0), ("layer_decay", 0.0), ("b1", 1.0)],
)
def test_a_field_that_cannot_be_right_is_named_with_its_value(field, value):
  with pytest.raises(ValueError, match=f"optim.{field}={value!r}"):
    OptimSpec(**{field: value}).validate()


def _paths(tree) -> set[str]:
  return {jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in jax.tree_util.tree_leaves_with_path(tree)}


EVERYTHING = _paths(PARAMS)
HEAD = {"encoder/projection/kernel", "encoder/projection/bias", "tasks/search/log_scale"}


@pytest.mark.parametrize(
  "freeze, trained",
  [
    ((), EVERYTHING),
    (("backbone",), HEAD),
    (("backbone/*",), HEAD),
    (("backbone/embeddings", "backbone/layer_0"), HEAD | {p for p in EVERYTHING if "layer_1" in p}),
    (("backbone/layer_[0-1]/*/kernel",), {p for p in EVERYTHING if "query/kernel" not in p}),
    (("tasks/search/log_scale",), EVERYTHING - {"tasks/search/log_scale"}),
  ],
)
def test_freeze_by_path(freeze, trained):
  parts = split(PARAMS, freeze)
  assert _paths(parts[0]) == trained and _paths(parts[1]) == EVERYTHING - trained
  jax.tree.map(np.testing.assert_array_equal, merge(*parts), PARAMS)


def test_with_lora_the_backbone_is_frozen_unless_freeze_says_otherwise():
  adapters = {"layer_0": {"query": {"a": np.ones((2, 1)), "b": np.ones((1, 2))}}}
  params = {**PARAMS, "encoder": PARAMS["encoder"] | {"lora": adapters}}
  lora = {f"encoder/lora/layer_0/query/{name}" for name in "ab"}
  assert _paths(split(params, ())[0]) == HEAD | lora
  assert _paths(split(params, ("backbone/embeddings",))[0]) == {p for p in EVERYTHING | lora if "embeddings" not in p}


@pytest.mark.parametrize(
  "freeze, message",
  [
    (("backbone", "backbone/layer_01"), r"'backbone/layer_01', which no parameter has; near it are .*backbone/layer_0"),
    (("quite_unlike",), r"'quite_unlike', which no parameter has; near it are backbone, projection, tasks"),
    (("backbone", "projection", "tasks"), r"leaves nothing to train"),
  ],
)
def test_freeze_that_cannot_be_meant(freeze, message):
  with pytest.raises(ValueError, match=message):
    split(PARAMS, freeze)


@pytest.mark.parametrize("freeze", ["backbone", (3,)])
def test_freeze_is_a_tuple_of_paths(freeze):
  with pytest.raises(ValueError, match=r"is not a tuple of paths; use for example \('backbone',\)"):
    OptimSpec(freeze=freeze).validate()


def test_layer_rates_count_the_frozen_layers_too():
  rates = layer_rates(split(PARAMS, ("backbone/layer_1",))[0], 0.5)
  assert rates["encoder"]["backbone"]["layer_0"]["query"]["kernel"] == 0.5


def test_count():
  # 6 + 2 of the embeddings, 6 + 6 of two layers, 6 of the projection, 1 scalar; float32.
  assert count(PARAMS, ()) == (27, 27, 16 * 27)
  assert count(PARAMS, ("backbone",)) == (7, 27, 16 * 7 + 4 * 20)
