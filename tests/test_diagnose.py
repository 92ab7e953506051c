"""The gradients of a step's tasks, measured beside it or balanced in it: as jax.grad gives them, on any devices."""

import contextlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtc import data, models, optim, parallel
from mtc.config import Task
from mtc.losses import CoSENT, InfoNCE, unit
from mtc.models import ModelSpec
from mtc.multitask import forward, gradients as gradients_lib
from mtc.multitask.balancing import Fixed, GradNorm, PCGrad, Uncertainty
from mtc.training import step as step_lib
from mtc.training.diagnose import Collapse, make_diagnosis
from mtc.types import Step
from mtc.workdir.checkpoints import Checkpoints

SPEC = ModelSpec(layers=1, width=16, heads=2, mlp_width=32, positions=64, dim=8, dropout=0.0, dtype="float32")
BATCH = {"search": 13, "topic": 10, "graded": 11}  # none divides by 2, 4 or 8: every run has filler rows
STEP = 1  # in it tasks are in conflict
PAIRS = ["graded/search", "graded/topic", "search/topic"]


def _text(seed: int) -> str:
  words = "rocket orbit moon bread oven salt judge court trial goal match coach".split()
  return " ".join(np.random.default_rng(seed).choice(words, 2 + seed % 7))


ROWS = {
  "search": [{"anchor": _text(i), "positive": _text(100 + i % 10)} for i in range(40)],
  "topic": [{"text": _text(300 + i), "labels": [f"label{i % 4}"]} for i in range(40)],
  # The pairs of search are the least alike.
  "graded": [
    {"text_a": _text(i), "text_b": _text(100 + i % 10 + i % 2 * 400), "score": i % 2 * 4.0 + i / 50} for i in range(40)
  ],
}
TASKS = {
  "search": Task(
    data.InMemory({"train": ROWS["search"]}), data.Pairs(), InfoNCE(learn_temperature=True), BATCH["search"], 1.5
  ),
  "topic": Task(data.InMemory({"train": ROWS["topic"]}), data.SameLabel(), InfoNCE(), BATCH["topic"]),
  "graded": Task(data.InMemory({"train": ROWS["graded"]}), data.Scored(), CoSENT(), BATCH["graded"], 0.5),
}


@pytest.fixture(scope="module")
def prepared(tokenizer, tmp_path_factory):
  cache = tmp_path_factory.mktemp("cache")
  return {
    name: data.prepare(
      task.source, "train", task.examples, tokenizer, max_length=16, prompts={}, cache_dir=cache, progress=False
    )
    for name, task in TASKS.items()
  }


@pytest.fixture(scope="module")
def encoder(tokenizer):
  config = models.scratch_config(SPEC, 0) | {"vocab_size": tokenizer.get_vocab_size()}
  return models.build(config, SPEC)


# Keeps the gradient where the state can be asked for it.
KEEP = optax.GradientTransformation(
  lambda params: jax.tree.map(jnp.zeros_like, params),
  lambda grads, _, params: (jax.tree.map(lambda g: -1e-3 * g, grads), grads),
)


def start(encoder, balancing=None, freeze=()):
  """A state whose weights are larger than a start's: every path of the network must matter to the gradient."""
  state = step_lib.init_state(encoder.init(jax.random.key(0)), TASKS, KEEP, freeze, balancing)
  return state.replace(params=jax.tree.map(lambda x: x * 5 if x.ndim > 1 else x, state.params))


def measure(encoder, prepared, devices, chunks=1, balancing=None, freeze=(), mixing=None):
  """The diagnosis of the step on so many devices."""
  packer = data.Packer(prepared, data.Sampler(prepared, BATCH, seed=1, mixing=mixing), devices, chunks=chunks)
  across = parallel.measure_across_devices
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parallel, "measure_across_devices", lambda f: across(f, jax.devices()[:devices]))
    diagnose = make_diagnosis(encoder, TASKS, balancing or Fixed(), 0, packer.rows_per_chunk, freeze)
  batch = packer.step(STEP)
  rows, length = batch.tokens.ids.shape[1:]
  assert chunks == 1 or packer.rows_per_chunk(rows, length) < rows, "nothing was chunked"
  return {k: float(v) for k, v in parallel.to_host(diagnose(start(encoder, balancing, freeze), batch)).items()}


@pytest.fixture(scope="module")
def one_device(encoder, prepared):
  return measure(encoder, prepared, 1)


class ByHand(NamedTuple):
  """One device's step by jax.grad of one loss at a time; tasks sorted."""

  gradients: dict  # of the encoder, for each task
  log_scale: float  # the gradient of the temperature of search
  norms: np.ndarray  # of the gradients with respect to the pooled vectors
  pooled: np.ndarray  # the vectors, before unit length
  batch: Step


@pytest.fixture(scope="module")
def by_hand(encoder, prepared):
  batch = data.Packer(prepared, data.Sampler(prepared, BATCH, seed=1), 1).step(STEP)

  def gradients(params, batch):
    pooled = forward.embed(encoder, params["encoder"], batch.tokens, None, finish=lambda x: x)

    def of_params(part, name):
      return forward.loss_fn(part, batch, None, encoder=encoder, tasks=TASKS)[1][f"{name}/loss"]

    def of_pooled(pooled, name):
      loss, scalars = TASKS[name].loss, params["tasks"][name]
      return forward.task_loss(loss, scalars, unit(pooled), batch.tasks[name])

    norms = jnp.stack([jnp.linalg.norm(jax.grad(of_pooled)(pooled, name)) for name in sorted(TASKS)])
    return {name: jax.grad(of_params)(params, name) for name in TASKS}, norms, pooled

  run = parallel.measure_across_devices(gradients, jax.devices()[:1])
  found, norms, pooled = parallel.to_host(run(start(encoder).params, batch))
  return ByHand(
    {name: found[name]["encoder"] for name in sorted(found)},
    float(found["search"]["tasks"]["search"]["log_scale"]),
    norms,
    pooled.astype(np.float64),
    jax.tree.map(lambda x: x[0], batch),
  )


def vectors(gradients, keep=lambda name: True):
  def flat(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return np.concatenate([x.ravel() for path, x in leaves if keep(jax.tree_util.keystr(path))]).astype(np.float64)

  return {name: flat(tree) for name, tree in gradients.items()}


def test_the_gradients_are_those_of_each_loss(one_device, by_hand):
  of = vectors(by_hand.gradients)
  for name, vector in of.items():
    assert one_device[f"gradient/norm/{name}"] == pytest.approx(np.linalg.norm(vector), rel=1e-5)
  for pair in PAIRS:
    a, b = (of[name] for name in pair.split("/"))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert 0.01 < abs(cosine) < 0.99, "a test of nothing"
    assert one_device[f"gradient/cosine/{pair}"] == pytest.approx(cosine, abs=1e-5)
  total = sum(TASKS[name].weight * vector for name, vector in of.items())
  for name, vector in of.items():
    share = TASKS[name].weight * vector @ total / (total @ total)
    assert one_device[f"gradient/share/{name}"] == pytest.approx(share, abs=1e-5)


def test_the_geometry_is_that_of_the_texts(one_device, by_hand):
  pooled, batch = by_hand.pooled, by_hand.batch
  directions = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-9)
  for name in ("search", "topic"):
    examples = batch.tasks[name]
    distance = np.mean(((directions[examples.anchor] - directions[examples.positive]) ** 2).sum(1))
    assert one_device[f"geometry/alignment/{name}"] == pytest.approx(distance, rel=1e-5)
  assert "geometry/alignment/graded" not in one_device
  slots = np.concatenate([s for examples in batch.tasks.values() for s in (examples.anchor, examples.positive)])
  assert one_device["geometry/mean_norm"] == pytest.approx(np.linalg.norm(pooled[slots], axis=1).mean(), rel=1e-5)
  similar = directions[slots] @ directions[slots].T
  off = similar[~np.eye(len(slots), dtype=bool)]
  assert one_device["geometry/mean_similarity"] == pytest.approx(off.mean(), rel=1e-5)
  assert one_device["geometry/uniformity"] == pytest.approx(np.log(np.mean(np.exp(4 * off - 4))), rel=1e-5)
  share = np.linalg.svd(directions[slots], compute_uv=False)
  share = share / share.sum()
  assert one_device["geometry/effective_rank"] == pytest.approx(np.exp(-np.sum(share * np.log(share))), rel=1e-5)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
  "devices, chunks", [(8, 1), (2, 3), pytest.param(2, 1, marks=SLOW), pytest.param(4, 1, marks=SLOW)]
)
def test_devices_and_chunks_measure_the_same(encoder, prepared, one_device, devices, chunks):
  found = measure(encoder, prepared, devices, chunks)
  assert found.keys() == one_device.keys() and len(found) == 3 + 3 + 3 + 2 + 4
  for name, value in one_device.items():
    assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_gradients_of_one_device_alone_would_be_noticed(encoder, prepared, one_device, monkeypatch):
  monkeypatch.setattr(parallel, "mean_over_devices", lambda tree: tree)
  found = measure(encoder, prepared, 2)
  assert max(abs(found[f"gradient/cosine/{pair}"] - one_device[f"gradient/cosine/{pair}"]) for pair in PAIRS) > 1e-3


def test_what_is_frozen_is_left_out(encoder, prepared, by_hand):
  found = measure(encoder, prepared, 2, freeze=("backbone/embeddings", "tasks/search"))
  of = vectors(by_hand.gradients, lambda path: "embeddings" not in path)
  for name, vector in of.items():
    assert found[f"gradient/norm/{name}"] == pytest.approx(np.linalg.norm(vector), rel=1e-5)


def test_a_step_of_one_task_has_no_pairs(encoder, prepared):
  found = measure(encoder, prepared, 1, mixing=data.Mixing("uniform"))
  (name,) = [key.split("/")[-1] for key in found if key.startswith("gradient/norm")]
  assert found[f"gradient/share/{name}"] == pytest.approx(1)
  assert not any("cosine" in key for key in found) and found["geometry/effective_rank"] > 1


LEARNT = {name: np.float32(i) for i, name in enumerate(sorted(TASKS))}
BALANCED = {
  "uncertainty": (Uncertainty(), {"log_variance": {name: value - 1 for name, value in LEARNT.items()}}),
  "gradnorm": (GradNorm(), {"weight": {name: value / 2 + 1 for name, value in LEARNT.items()}, "first_loss": LEARNT}),
  "pcgrad": (PCGrad(), {}),
}


@pytest.fixture(scope="module", params=[pytest.param("uncertainty", marks=SLOW), "gradnorm", "pcgrad"])
def balanced(request, encoder, prepared):
  """A balancing, the state before a step with it, the step on two devices in chunks, and its batches."""
  balancing, learnt = BALANCED[request.param]
  packer = data.Packer(prepared, data.Sampler(prepared, BATCH, seed=1), 2, chunks=3)
  across = parallel.across_devices
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parallel, "across_devices", lambda f: across(f, jax.devices()[:2]))
    step = step_lib.make_train_step(encoder, TASKS, KEEP, 0, packer.rows_per_chunk, balancing=balancing)
  state = start(encoder, balancing)
  assert state.balancing.keys() == learnt.keys()
  return balancing, state.replace(balancing=learnt), step, packer.step


def expected_factors(balancing, learnt, of) -> np.ndarray:
  weights = np.array([TASKS[name].weight for name in of])
  if isinstance(balancing, Uncertainty):
    return weights * np.exp(-np.array(list(learnt["log_variance"].values())))
  if isinstance(balancing, GradNorm):
    return np.array(list(learnt["weight"].values()))
  rows = weights[:, None] * np.stack(list(of.values()))
  order = np.asarray(PCGrad.order(gradients_lib.balancing_key(0, jnp.int32(0)), len(of)))
  gram, factors = rows @ rows.T, np.zeros(len(of))
  for i in range(len(of)):
    mine = np.eye(len(of))[i]
    for j in order[i]:
      if j != i and mine @ gram[j] < 0:
        mine = mine - mine @ gram[j] / gram[j, j] * np.eye(len(of))[j]
    factors += mine
  return weights * factors


def test_a_balanced_step_is_that_of_its_factors(by_hand, balanced):
  """On two devices in chunks, against jax.grad of each loss on one device."""
  balancing, state, step, batch = balanced
  of = vectors(by_hand.gradients)
  factors = expected_factors(balancing, state.balancing, of)
  assert np.abs(factors - [TASKS[name].weight for name in of]).max() > 1e-2, "nothing was balanced"
  after, metrics = step(state, batch(STEP))
  np.testing.assert_allclose([metrics[f"balance/{name}"] for name in of], factors, rtol=1e-5)
  losses = sum(TASKS[name].weight * float(metrics[f"{name}/loss"]) for name in of)
  assert float(metrics["loss"]) == pytest.approx(losses, rel=1e-6)
  total = sum(factor * vector for factor, vector in zip(factors, of.values(), strict=True))
  (found,) = vectors({"": parallel.to_host(after.opt_state)["encoder"]}).values()
  assert np.abs(found - total).max() < 1e-5 * np.abs(total).max()
  scalar = after.opt_state["tasks"]["search"]["log_scale"]
  assert float(scalar) == pytest.approx(factors[list(of).index("search")] * by_hand.log_scale, rel=1e-5)


def test_the_norms_at_the_embeddings(encoder, prepared, by_hand):
  def norms(params, batch):
    trained, frozen = optim.split(params, ())
    return gradients_lib.TaskGradients(trained, frozen, batch, None, encoder=encoder, tasks=TASKS).norms()

  batch = data.Packer(prepared, data.Sampler(prepared, BATCH, seed=1), 2).step(STEP)
  found = parallel.measure_across_devices(norms, jax.devices()[:2])(start(encoder).params, batch)
  np.testing.assert_allclose(found, by_hand.norms * np.sqrt([BATCH[name] for name in sorted(TASKS)]), rtol=1e-5)


@pytest.mark.parametrize("balanced", ["gradnorm"], indirect=True)
def test_gradnorm_learns_from_the_norms_at_the_embeddings(by_hand, balanced):
  balancing, state, step, batch = balanced
  after, metrics = step(state, batch(STEP))

  class Known:
    names = sorted(TASKS)
    weights = np.array([TASKS[name].weight for name in names])
    losses = np.array([metrics[f"{name}/loss"] for name in names])
    norms = staticmethod(lambda: by_hand.norms * np.sqrt([BATCH[name] for name in sorted(TASKS)]))

  expected = balancing.update(state.balancing, Known())
  for name in TASKS:
    assert float(after.balancing["weight"][name]) == pytest.approx(float(expected["weight"][name]), rel=1e-5)
    assert abs(float(expected["weight"][name]) - float(state.balancing["weight"][name])) > 1e-3


def test_a_step_that_is_not_finite_teaches_nothing(balanced):
  _, state, step, batch = balanced
  broken = state.replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
  after, metrics = step(broken, batch(0))
  assert int(metrics["finite"]) == 0
  jax.tree.map(np.testing.assert_array_equal, parallel.to_host(after.balancing), state.balancing)


def test_a_balanced_run_goes_on_to_the_same_bits(balanced, tmp_path):
  _, state, step, batch = balanced
  template = state
  for number in range(4):
    if number == 2:
      with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(parallel.to_host(state), 2)
    state, _ = step(state, batch(number))
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    again, first = checkpoints.restore(template)
  for number in range(first, 4):
    again, _ = step(again, batch(number))
  jax.tree.map(np.testing.assert_array_equal, parallel.to_host(again), parallel.to_host(state))


def metrics(similarity: float, rank: float) -> dict[str, float]:
  return {"geometry/mean_similarity": similarity, "geometry/effective_rank": rank}


def test_collapse_is_said_once_and_when_it_lasts(capsys):
  collapse = Collapse(dim=50, texts=400)
  for step, similarity in enumerate([0.95, 0.5, 0.95, 0.96, 0.97]):
    collapse.see(step + 1, metrics(similarity, 40))
  said = capsys.readouterr().err
  assert said.count("warning") == 1 and "0.96 similar" in said and "at step 4" in said and "rank" not in said


def test_collapse_into_few_dimensions_of_those_that_so_many_texts_can_use(capsys):
  for dim, texts, warned in ((50, 400, True), (400, 30, False)):
    collapse = Collapse(dim, texts)
    collapse.see(1, metrics(0.1, 4))
    collapse.see(2, metrics(0.1, 4))
    assert ("effective rank is 4.0" in capsys.readouterr().err) == warned
