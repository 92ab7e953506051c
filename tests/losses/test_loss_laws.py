"""What holds for every loss. A law compiles all losses together, which takes a fraction of the time."""

from dataclasses import replace
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.losses import (
  CoSENT,
  CosineRegression,
  EmbeddingDistillation,
  InfoNCE,
  Matryoshka,
  Sigmoid,
  SimilarityDistillation,
  Sum,
)

ALL = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
BOTH = ("query_to_doc", "doc_to_query")
LOSSES = {
  "infonce": InfoNCE(),
  "infonce_all": InfoNCE(directions=ALL, learn_temperature=True),
  "infonce_multi": InfoNCE(directions=ALL, multi_positive=True),
  "infonce_both": InfoNCE(directions=BOTH, partition="per_direction", multi_positive=True),
  "infonce_guided": InfoNCE(directions=BOTH, multi_positive=True, guide="relative", guide_margin=0.2),
  "sigmoid": Sigmoid(),
  "sigmoid_multi": Sigmoid(multi_positive=True),
  "cosent": CoSENT(),
  "regression": CosineRegression(),
  "matryoshka": Matryoshka(InfoNCE(learn_temperature=True), dims=(6, 4), weights=(1.0, 0.5)),
  "embeddings": Matryoshka(EmbeddingDistillation(), dims=(6, 4)),
  "similarities": SimilarityDistillation(),
  "sum": Sum((InfoNCE(learn_temperature=True), CoSENT(), Sigmoid()), weights=(1.0, 0.5, 0.1)),
}
# The columns are 8, and 16 hard negatives: blocks with and without a rest, larger than all, and of one column.
BLOCKS = [
  (InfoNCE(learn_temperature=True), 1),
  (InfoNCE(directions=ALL, learn_temperature=True), 3),
  (InfoNCE(directions=ALL, multi_positive=True), 4),
  (InfoNCE(directions=BOTH, partition="per_direction"), 9),
  (InfoNCE(directions=BOTH, partition="per_direction", multi_positive=True), 6),
  (Sigmoid(), 5),
  (Sigmoid(multi_positive=True), 8),
  (Matryoshka(InfoNCE(), dims=(6, 2)), 12),
  (InfoNCE(guide="absolute"), 7),
  (SimilarityDistillation(teacher_temperature=0.1), 5),
]
SPREAD = (
  "infonce_all",
  "infonce_guided",
  "sigmoid",
  "cosent",
  "regression",
  "matryoshka",
  "embeddings",
  "similarities",
  "sum",
)
every_loss = pytest.mark.parametrize("name", LOSSES)


def vectors_of(e):
  return {name: getattr(e, name) for name in ("anchor", "positive", "negatives")}


@jax.jit
def score(e):
  """Of each loss: the losses of the rows, the gradients of their weighted mean by vectors, and by scalars."""

  def of(loss):
    def mean(vectors, scalars):
      x = e.replace(**vectors)
      losses = loss(scalars, x, x, 0)
      return jnp.sum(losses * e.weight) / jnp.maximum(e.weight.sum(), 1), losses

    (by_vectors, by_scalars), losses = jax.grad(mean, argnums=(0, 1), has_aux=True)(vectors_of(e), loss.init())
    return losses, by_vectors, by_scalars

  return {name: of(loss) for name, loss in LOSSES.items()}


def assert_close(a, b, tolerance):
  """In the design's measure: max |difference| / max |value| of each leaf."""
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(float(np.max(np.abs(y))), 1e-30))


@pytest.mark.usefixtures("x64")
@every_loss
def test_filler_rows_change_nothing(draw, name):
  whole = draw(fillers=(0, 4))
  real, filler = np.flatnonzero(whole.weight), np.flatnonzero(whole.weight == 0)
  losses, grads, by_scalars = score(whole)[name]
  few = score(jax.tree.map(lambda x: x[real], whole))[name]
  np.testing.assert_allclose(losses[real], few[0], rtol=1e-12)
  assert_close(jax.tree.map(lambda g: g[real], grads), few[1], 1e-12)
  assert_close(by_scalars, few[2], 1e-6)  # they are float32
  for grad in grads.values():
    np.testing.assert_array_equal(grad[filler], 0)


@every_loss
@pytest.mark.parametrize("case", ["zero vectors", "no real row", "no negative", "one key for all", "all alike"])
def test_empty_rows_have_finite_gradients(draw, name, case):
  e = draw(fillers=(1, 6), dtype=np.float32)
  if case == "zero vectors":
    fill = lambda x: np.where(e.weight.reshape(-1, *[1] * (x.ndim - 1)) > 0, x, 0)
    e = e.replace(**jax.tree.map(fill, vectors_of(e)), teacher=fill(e.teacher))
  elif case == "no real row":
    e = e.replace(weight=np.zeros(8, np.float32))
  elif case == "no negative":
    e = e.replace(negative_mask=np.zeros((8, 2), bool))
  elif case == "one key for all":
    e = e.replace(keys=np.ones((8, 3), np.int32), negative_keys=np.ones((8, 2), np.int32))
  else:
    e = e.replace(**jax.tree.map(lambda x: np.zeros_like(x) + e.anchor[0], vectors_of(e)))
  for leaf in jax.tree.leaves(score(e)[name]):
    assert np.isfinite(leaf).all()


@pytest.mark.usefixtures("x64")
@every_loss
def test_permuting_examples_permutes_losses(draw, name):
  e, order = draw(fillers=(2,)), np.random.default_rng(1).permutation(8)
  shuffled = score(jax.tree.map(lambda x: x[order], e))[name][0]
  np.testing.assert_allclose(shuffled, score(e)[name][0][order], rtol=1e-12)


@jax.jit
def score_shard(local, everyone, offset):
  return {name: loss(loss.init(), local, everyone, offset) for name, loss in LOSSES.items()}


@pytest.mark.usefixtures("x64")
@every_loss
def test_shards_make_the_whole(draw, name):
  e = draw(fillers=(7,))
  parts = [score_shard(jax.tree.map(lambda x, at=at: x[at : at + 2], e), e, at)[name] for at in (0, 2, 4, 6)]
  np.testing.assert_allclose(np.concatenate(parts), score(e)[name][0], rtol=1e-12)


@pytest.mark.parametrize(("cases", "dtype", "rtol"), [(BLOCKS[2:6], np.float32, 1e-5), (BLOCKS, np.float64, 1e-12)])
def test_blocks_make_the_whole(draw, cases, dtype, rtol):
  with jax.enable_x64(dtype == np.float64):
    e = draw(fillers=(0, 7), dtype=dtype)
    local = jax.tree.map(lambda x: x[3:6], e)

    def losses_and_grads(loss):
      def total(vectors, scalars):
        losses = loss(scalars, local, e.replace(**vectors), 3)
        return jnp.sum(losses * jnp.arange(1.0, 4.0, dtype=dtype)), losses

      scalars = jax.tree.map(lambda x: x.astype(dtype), loss.init())
      grads, losses = jax.grad(total, argnums=(0, 1), has_aux=True)(vectors_of(e), scalars)
      return losses, grads

    def in_blocks(loss, block):
      return replace(loss, loss=InfoNCE(block=block)) if isinstance(loss, Matryoshka) else replace(loss, block=block)

    whole = jax.jit(lambda: [losses_and_grads(loss) for loss, _ in cases])()
    parts = jax.jit(lambda: [losses_and_grads(in_blocks(loss, block)) for loss, block in cases])()
    for part, expected in zip(parts, whole, strict=True):
      assert_close(part, expected, rtol)


def test_eight_devices_have_the_gradients_of_one(draw):
  """Parameters make the vectors; the loss is reduced inside the differentiated function, the gradients averaged."""
  e = draw(examples=16, dim=10, fillers=(5, 15), dtype=np.float32)
  spread = {name: LOSSES[name] for name in SPREAD}
  spread["blocks"] = InfoNCE(directions=BOTH, multi_positive=True, block=10)
  weights = np.random.default_rng(3).normal(size=(10, 6)).astype(np.float32)
  params = {name: {"weights": weights, "scalars": loss.init()} for name, loss in spread.items()}

  def embed(weights, x):
    y = x @ weights
    return y / jnp.linalg.norm(y, axis=-1, keepdims=True)

  def mean(params, loss, e, devices):
    local = e.replace(**{name: embed(params["weights"], x) for name, x in vectors_of(e).items()})
    if devices == 1:
      losses = loss(params["scalars"], local, local, 0)
      return jnp.sum(losses * e.weight) / jnp.maximum(jnp.sum(e.weight), 1)
    everyone = jax.tree.map(lambda x: jax.lax.all_gather(x, "devices", tiled=True), local)
    losses = loss(params["scalars"], local, everyone, jax.lax.axis_index("devices") * e.weight.shape[0])
    total, count = jax.lax.psum((jnp.sum(losses * e.weight), jnp.sum(e.weight)), "devices")
    return total / jnp.maximum(count, 1)

  def step(params, e, devices):
    grad = lambda name: jax.value_and_grad(mean)(params[name], spread[name], e, devices)
    values_and_grads = {name: grad(name) for name in spread}
    return values_and_grads if devices == 1 else jax.lax.pmean(values_and_grads, "devices")

  over_devices = jax.pmap(functools.partial(step, devices=8), "devices", in_axes=(None, 0), out_axes=None)
  eight = over_devices(params, jax.tree.map(lambda x: x.reshape(8, 2, *x.shape[1:]), e))
  one = jax.jit(functools.partial(step, devices=1))(params, e)
  for name in spread:
    assert_close(eight[name], one[name], 1e-5)


@every_loss
def test_a_loss_is_a_plain_dataclass_with_float32_scalars(name):
  loss = LOSSES[name]
  loss.validate(50)
  assert all(np.shape(v) == () and v.dtype == np.float32 for v in loss.init().values())
  assert eval(repr(loss)) == loss
