"""The step under pmap itself: many devices, chunks and packings give the gradients of one device."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtc import data, models, optim, parallel
from mtc.config import Task
from mtc.data.teacher import TextVectors
from mtc.losses import CoSENT, EmbeddingDistillation, InfoNCE, Matryoshka, SimilarityDistillation, Sum
from mtc.models import LoraSpec, ModelSpec
from mtc.multitask.balancing import Fixed
from mtc.optim import OptimSpec
from mtc.training import step as step_lib

SPEC = ModelSpec(layers=2, width=16, heads=2, mlp_width=32, positions=64, dim=8, dropout=0.0, dtype="float32")
BATCH = {"search": 13, "topic": 10, "graded": 11, "taught": 9}  # none divides by 2, 4 or 8: every run has filler rows


def _rows():
  words = "rocket orbit moon bread oven salt judge court trial goal match coach".split()
  rng = np.random.default_rng(0)

  def text(seed):
    return " ".join(np.random.default_rng(seed).choice(words, 2 + seed % 7))

  # Ten documents for forty queries: a step holds duplicates, which only the keys keep from being negatives.
  search = [
    {"anchor": text(i), "positive": text(100 + i % 10), "negatives": [text(200 + j) for j in range(i % 3)]}
    for i in range(40)
  ]
  topic = [{"text": text(300 + i), "labels": [f"label{i % 4}"]} for i in range(40)]
  graded = [{"text_a": text(400 + i), "text_b": text(500 + i), "score": float(rng.integers(0, 6))} for i in range(40)]
  taught = [{"text": text(600 + i)} for i in range(40)]
  return {"search": search, "topic": topic, "graded": graded, "taught": taught}


@pytest.fixture(scope="module")
def tasks():
  return {
    "search": Task(
      data.InMemory({"train": _rows()["search"]}),
      data.Pairs(negatives="negatives"),
      Matryoshka(InfoNCE(learn_temperature=True, directions=("query_to_doc", "doc_to_query")), dims=(8, 4)),
      BATCH["search"],
      1.5,
    ),
    "topic": Task(
      data.InMemory({"train": _rows()["topic"]}), data.SameLabel(), InfoNCE(multi_positive=True), BATCH["topic"]
    ),
    "graded": Task(data.InMemory({"train": _rows()["graded"]}), data.Scored(), CoSENT(), BATCH["graded"], 0.5),
    "taught": Task(
      data.InMemory({"train": _rows()["taught"]}),
      data.Texts(),
      Sum((SimilarityDistillation(), EmbeddingDistillation())),
      BATCH["taught"],
    ),
  }


@pytest.fixture(scope="module")
def prepared(tasks, tokenizer, tmp_path_factory):
  cache = tmp_path_factory.mktemp("cache")
  made = {
    name: data.prepare(
      task.source, "train", task.examples, tokenizer, max_length=16, prompts={}, cache_dir=cache, progress=False
    )
    for name, task in tasks.items()
  }
  texts = len(made["taught"].text_keys)
  teacher = TextVectors([np.random.default_rng(5).normal(size=(texts, 12))], np.arange(texts), None)
  return made | {"taught": made["taught"]._replace(teacher=teacher)}


@pytest.fixture(scope="module")
def encoder(tokenizer):
  config = models.scratch_config(SPEC, 0) | {"vocab_size": tokenizer.get_vocab_size()}
  return models.build(config, SPEC)


# Keeps the gradients where the state can be asked for them, and changes no parameter.
KEEP = optax.GradientTransformation(
  lambda params: jax.tree.map(jnp.zeros_like, params),
  lambda grads, _, params: (jax.tree.map(jnp.zeros_like, grads), grads),
)


def _gradients(encoder, tasks, prepared, devices, chunks=1, number=3, freeze=(), balancing=None):
  """The loss and the gradients of step `number`, computed by the real train step on so many devices."""
  sampler = data.Sampler(prepared, BATCH, seed=1)
  packer = data.Packer(prepared, sampler, devices, chunks=chunks)
  across = partial(parallel.across_devices, devices=jax.devices()[:devices])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parallel, "across_devices", across)
    train_step = step_lib.make_train_step(encoder, tasks, KEEP, 0, packer.rows_per_chunk, freeze, balancing)
  batch = packer.step(number)
  rows, length = batch.tokens.ids.shape[1:]
  if chunks > 1:
    assert packer.rows_per_chunk(rows, length) < rows, (
      "nothing was chunked: this test would compare a thing with itself"
    )
  state = step_lib.init_state(encoder.init(jax.random.key(0)), tasks, KEEP, freeze, balancing)
  # Larger weights than a start has: every path of the network must matter to the gradient.
  state = state.replace(params=jax.tree.map(lambda x: x * 5 if x.ndim > 1 else x, state.params))
  if "lora" in state.params["encoder"]:  # while b is zero, a has no gradient; were b constant, a norm would undo it
    rng = np.random.default_rng(0)
    moved = lambda x: np.asarray(x + 0.2 * rng.normal(size=x.shape), np.float32)
    state.params["encoder"]["lora"] = jax.tree.map(moved, state.params["encoder"]["lora"])
  state, metrics = train_step(state, batch)
  return parallel.to_host(metrics), parallel.to_host(state.opt_state)


def _difference(got, expected) -> float:
  """The design's measure of "the same": per leaf, max |difference| / max |gradient|; the largest of all leaves.

  The bias of attention keys has no gradient but rounding: softmax does not see it.
  """
  worst = 0.0
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if name.endswith("key/bias"):
      assert np.abs(a).max() < 1e-5 and np.abs(b).max() < 1e-5
      continue
    assert np.abs(a).max() > 0 or "type" in name or "word" in name, f"{name} has no gradient: it is tested by nothing"
    worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
  return worst


@pytest.fixture(scope="module")
def one_device(encoder, tasks, prepared):
  return _gradients(encoder, tasks, prepared, devices=1)


@pytest.mark.parametrize("devices, chunks", [(2, 1), (4, 1), (8, 1), (1, 4), (2, 3)])
def test_devices_and_chunks_give_the_gradients_of_one(encoder, tasks, prepared, one_device, devices, chunks):
  metrics, gradients = _gradients(encoder, tasks, prepared, devices, chunks)
  expected, expected_gradients = one_device
  assert metrics.keys() == expected.keys() and len(metrics) == len(BATCH) + 3
  for name, value in metrics.items():
    np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)
  assert _difference(gradients, expected_gradients) < 1e-5


def test_halved_rows_give_the_gradients_of_whole_ones(encoder, tasks, prepared, one_device, monkeypatch):
  """Too few rows for halves to be chosen: here they are made to be, with texts in both halves and long ones."""
  expected, expected_gradients = one_device
  found = []
  make_plan, pack = data.packing.make_plan, data.packing.pack

  def with_halves(steps, lengths, devices, chunks, length):
    plan = make_plan(steps, lengths, devices, chunks, 24)
    return plan._replace(rows=(*(2 * rows for rows in plan.rows), 1000), wide=plan.rows[0] // 2)

  def noticed(*arguments):
    step = pack(*arguments)
    halves = np.split(step.tokens.segment[:, -step.tokens.halved :], 2, axis=2)
    found.extend([step.tokens.halved, *(np.count_nonzero(half) for half in halves)])
    return step

  monkeypatch.setattr(data.packing, "make_plan", with_halves)
  monkeypatch.setattr(data.packing, "pack", noticed)
  metrics, gradients = _gradients(encoder, tasks, prepared, devices=2)
  assert min(found) > 0
  for name, value in metrics.items():
    np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)
  assert _difference(gradients, expected_gradients) < 1e-5


BROKEN = {
  "gathered rows carry no gradient": ("gather", lambda old: lambda tree: jax.lax.stop_gradient(old(tree))),
  "gradients are summed, not averaged": (
    "mean_over_devices",
    lambda old: lambda tree: jax.tree.map(lambda x: x * jax.lax.psum(1, parallel._AXIS), old(tree)),
  ),
  "gradients stay on their device": ("mean_over_devices", lambda old: lambda tree: tree),
  "every device sees the first one's positives": ("row_offset", lambda old: lambda examples: 0 * old(examples)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_reduction_is_noticed(encoder, tasks, prepared, one_device, monkeypatch, what):
  name, broken = BROKEN[what]
  monkeypatch.setattr(parallel, name, broken(getattr(parallel, name)))
  _, gradients = _gradients(encoder, tasks, prepared, devices=2)
  assert _difference(gradients, one_device[1]) > 1e-3


def test_a_mean_over_each_device_alone_is_noticed(encoder, tasks, prepared, one_device, monkeypatch):
  # With 13 rows, one device has 7 and the other 6 and a filler: a mean of the devices' means is not the mean.
  def alone(values, weight):
    return jax.lax.pmean(jnp.sum(values * weight) / jnp.sum(weight), parallel._AXIS)

  monkeypatch.setattr(parallel, "weighted_mean", alone)
  _, gradients = _gradients(encoder, tasks, prepared, devices=2)
  assert _difference(gradients, one_device[1]) > 1e-3


LORA = LoraSpec(rank=2, targets=("query", "mlp_output"))
FREEZE = ("backbone/embeddings", "backbone/layer_0", "tasks/search")


@pytest.fixture(scope="module")
def adapted(tokenizer):
  config = models.scratch_config(SPEC, 0) | {"vocab_size": tokenizer.get_vocab_size()}
  return models.build(config, replace(SPEC, pretrained="base", lora=LORA))


@pytest.fixture(scope="module")
def part_on_one_device(adapted, tasks, prepared):
  return _gradients(adapted, tasks, prepared, devices=1, freeze=FREEZE)


def _paths(tree) -> set[str]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(tree)
  }


def test_what_is_trained_has_the_gradients_of_the_whole(adapted, tasks, prepared, part_on_one_device):
  # Not to freeze anything cannot be said where there is LoRA: one table without a gradient stands for it.
  metrics, whole = _gradients(adapted, tasks, prepared, devices=1, freeze=("backbone/embeddings/type",))
  part_metrics, part = part_on_one_device
  kept = {p for p in _paths(whole) if "layer_0" not in p or "lora" in p}
  assert _paths(part) == {p for p in kept if "embeddings" not in p and "tasks/search" not in p}
  assert {"encoder/lora/layer_0/query/a", "encoder/backbone/layer_1/query/kernel"} < _paths(part)
  trained = jax.tree.map(lambda p, w: w if p is not None else None, part, whole, is_leaf=lambda x: x is None)
  assert _difference(part, trained) < 1e-5
  norm = np.sqrt(sum(float((leaf.astype(np.float64) ** 2).sum()) for leaf in jax.tree.leaves(part)))
  np.testing.assert_allclose(part_metrics["grad_norm"], norm, rtol=1e-5)
  assert part_metrics["grad_norm"] < 0.99 * metrics["grad_norm"]


@pytest.mark.parametrize("devices", [2, 4])
def test_devices_give_the_gradients_of_one_with_lora_and_frozen_parts(
  adapted, tasks, prepared, part_on_one_device, devices
):
  _, gradients = _gradients(adapted, tasks, prepared, devices, freeze=FREEZE)
  assert _difference(gradients, part_on_one_device[1]) < 1e-5


def test_the_optimizer_has_a_state_for_what_is_trained_only(adapted, tasks):
  optimizer = optim.make_optimizer(OptimSpec(), 10)
  state = step_lib.init_state(adapted.init(jax.random.key(0)), tasks, optimizer)
  learned = 2 * 2 * 2 + 2 + 1  # a and b of two targets in two layers, the projection, the temperature of "search"
  assert len(jax.tree.leaves(optim.split(state.params, ())[0])) == learned
  assert len(jax.tree.leaves(state.opt_state)) == 2 * learned + 2  # two moments, and two counts of steps


def test_what_is_frozen_keeps_its_bits(encoder, tasks, prepared):
  freeze = ("backbone", "tasks/search")
  optimizer = optim.make_optimizer(OptimSpec(learning_rate=0.1, weight_decay=0.5, warmup=0.0, layer_decay=0.5), 10)
  packer = data.Packer(prepared, data.Sampler(prepared, BATCH, seed=1), 8)
  step = step_lib.make_train_step(encoder, tasks, optimizer, 0, packer.rows_per_chunk, freeze)
  state = step_lib.init_state(encoder.init(jax.random.key(0)), tasks, optimizer, freeze)
  before = jax.tree.map(np.copy, state.params)
  for number in range(2):
    state, metrics = step(state, packer.step(number))
  assert int(metrics["finite"]) == 1
  after = parallel.to_host(state.params)
  jax.tree.map(np.testing.assert_array_equal, after["encoder"]["backbone"], before["encoder"]["backbone"])
  jax.tree.map(np.testing.assert_array_equal, after["tasks"], before["tasks"])
  for name, value in after["encoder"]["projection"].items():
    assert np.abs(value - before["encoder"]["projection"][name]).max() > 0.01


def test_fixed_is_the_step_without_balancing_to_the_bit(encoder, tasks, prepared):
  plain, fixed = (_gradients(encoder, tasks, prepared, 2, balancing=balancing) for balancing in (None, Fixed()))
  assert plain[0].keys() == fixed[0].keys()
  jax.tree.map(np.testing.assert_array_equal, plain[1], fixed[1])
