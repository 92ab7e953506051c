import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.losses import InfoNCE
from mtc.types import Embeddings

ALL = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
JOINT = [(ALL[0], *rest) for n in range(4) for rest in itertools.combinations(ALL[1:], n)]
SPACES = [(directions, "joint") for directions in JOINT]
SPACES += [(("query_to_doc",), "per_direction"), (("doc_to_query", "query_to_doc"), "per_direction")]


def by_hand(spec: InfoNCE, e: Embeddings, scale: float) -> np.ndarray:
  """The definition, one logit at a time."""
  losses = []
  for i in range(len(e.weight)):
    parts = []
    for direction in spec.directions:
      row_side, column_side = direction.split("_to_")
      row = (e.anchor if row_side == "query" else e.positive)[i]
      negatives, positives = [], []

      limit = e.teacher[i, 0] @ e.teacher[i, 1]
      limit -= spec.guide_margin * (abs(limit) if spec.guide == "relative" else 1)
      likeness = e.teacher @ e.teacher[i, int(row_side == "doc")]

      def place(logit, keys, alike, i=i, negatives=negatives, positives=positives, limit=limit):
        shared = {k for k in keys if k >= 0} & {k for k in e.keys[i] if k >= 0}
        if not shared:
          if not spec.guide or alike <= limit:
            negatives.append(logit)
        elif spec.multi_positive:
          positives.append(logit)

      for j in range(len(e.weight)):
        column = (e.anchor if column_side == "query" else e.positive)[j]
        if i == j and row_side != column_side:
          positives.append(scale * row @ column)
        elif i != j and e.weight[j] > 0:
          place(scale * row @ column, e.keys[j], likeness[j, int(column_side == "doc")])
        if column_side == "doc" and e.negatives is not None and e.weight[j] > 0 and not (i == j and row_side == "doc"):
          for h in range(e.negatives.shape[1]):
            if e.negative_mask[j, h]:
              place(scale * row @ e.negatives[j, h], [e.negative_keys[j, h]], likeness[j, 2 + h])
      parts.append((negatives, positives))
    if spec.partition == "joint":
      parts = [(sum((n for n, _ in parts), []), sum((p for _, p in parts), []))]
    losses.append(np.mean([np.log(np.sum(np.exp(n + p))) - np.mean(p) for n, p in parts]))
  return np.array(losses)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("multi_positive", [False, True])
@pytest.mark.parametrize("hard", [0, 2])
@pytest.mark.parametrize(("directions", "partition"), SPACES)
def test_equals_loops(draw, directions, partition, hard, multi_positive):
  e = draw(hard=hard, fillers=(2, 7))
  loss = InfoNCE(temperature=0.3, directions=directions, partition=partition, multi_positive=multi_positive)
  np.testing.assert_allclose(loss({}, e, e, 0), by_hand(loss, e, 1 / 0.3), rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("multi_positive", [False, True])
@pytest.mark.parametrize(("guide", "margin"), [("absolute", 0.0), ("absolute", 0.2), ("relative", 0.4)])
def test_a_guide_leaves_out_what_the_teacher_finds_alike(draw, guide, margin, multi_positive):
  e = draw(fillers=(2, 7))
  loss = InfoNCE(temperature=0.3, directions=ALL, multi_positive=multi_positive, guide=guide, guide_margin=margin)
  losses = loss({}, e, e, 0)
  np.testing.assert_allclose(losses, by_hand(loss, e, 1 / 0.3), rtol=1e-12)
  unguided = InfoNCE(temperature=0.3, directions=ALL, multi_positive=multi_positive)({}, e, e, 0)
  assert np.mean(losses < unguided) > 0.5


@pytest.mark.parametrize(
  ("keys", "multi_positive", "expected"),
  [([[1], [2]], False, 0.3133), ([[1], [1]], False, 0.0), ([[1], [1]], True, 0.8133), ([[-1], [-1]], False, 0.3133)],
)
def test_example_of_the_docstring(keys, multi_positive, expected):
  q = np.eye(2, dtype=np.float32)
  e = Embeddings(q, q, None, None, np.array(keys, np.int32), None, None, np.ones(2, np.float32))
  np.testing.assert_allclose(InfoNCE(1.0, multi_positive=multi_positive)({}, e, e, 0), [expected] * 2, atol=5e-5)


@pytest.mark.usefixtures("x64")
def test_missing_masks_and_keys_of_negatives_mean_all_are_negatives(draw):
  e = draw()
  all_of_them = e.replace(negative_mask=np.ones_like(e.negative_mask), negative_keys=np.full_like(e.negative_keys, -1))
  bare = e.replace(negative_mask=None, negative_keys=None)
  losses = InfoNCE()({}, bare, bare, 0)
  np.testing.assert_array_equal(losses, InfoNCE()({}, all_of_them, all_of_them, 0))
  assert np.all(losses > InfoNCE()({}, e, e, 0))


@pytest.mark.usefixtures("x64")
def test_no_column_of_hard_negatives_is_no_hard_negatives(draw):
  e = draw()
  empty = e.replace(negatives=e.negatives[:, :0], negative_mask=e.negative_mask[:, :0], negative_keys=None)
  without = e.replace(negatives=None, negative_mask=None, negative_keys=None)
  np.testing.assert_array_equal(InfoNCE()({}, empty, empty, 0), InfoNCE()({}, without, without, 0))


@pytest.mark.usefixtures("x64")
def test_learnable_temperature_starts_at_the_fixed_one_and_has_its_gradient(draw):
  e, loss = draw(), InfoNCE(temperature=0.2, learn_temperature=True)
  scalars = loss.init()
  assert {k: (v.shape, v.dtype) for k, v in scalars.items()} == {"log_scale": ((), np.float32)}
  np.testing.assert_allclose(loss(scalars, e, e, 0), InfoNCE(temperature=0.2)({}, e, e, 0), rtol=1e-6)
  mean = lambda log_scale: loss({"log_scale": log_scale}, e, e, 0).mean()
  step, at = 1e-6, jnp.float64(1.5)
  slope = (by_hand(loss, e, math.exp(at + step)).mean() - by_hand(loss, e, math.exp(at - step)).mean()) / (2 * step)
  np.testing.assert_allclose(jax.grad(mean)(at), slope, rtol=1e-7)


@pytest.mark.usefixtures("x64")
def test_learnable_temperature_is_held_at_a_hundredth_and_can_come_back(draw):
  e, loss = draw(), InfoNCE(learn_temperature=True)
  mean = lambda log_scale: loss({"log_scale": log_scale}, e, e, 0).mean()
  np.testing.assert_allclose(mean(jnp.float64(7.0)), by_hand(loss, e, 100.0).mean(), rtol=1e-12)
  assert jax.grad(mean)(jnp.float64(7.0)) != 0
  assert InfoNCE().init() == {}


def test_half_precision_is_scored_in_float32(draw):
  e = draw()
  half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16) if x.ndim > 1 and x.dtype == np.float64 else x, e)
  single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32) if x.dtype == jnp.bfloat16 else x, half)
  losses = InfoNCE()({}, half, half, 0)
  assert losses.dtype == jnp.float32
  np.testing.assert_array_equal(losses, InfoNCE()({}, single, single, 0))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"temperature": 0.0}, "temperature=0.0 of InfoNCE is not a positive number"),
    ({"temperature": math.nan}, "temperature=nan of InfoNCE is not a positive number"),
    ({"temperature": 0.001, "learn_temperature": True}, "temperature=0.001 of InfoNCE is below 0.01"),
    ({"directions": ()}, "directions=() of InfoNCE lacks 'query_to_doc'"),
    ({"directions": "query_to_doc"}, "directions='query_to_doc' of InfoNCE is a string; use a tuple"),
    ({"directions": ("query_to_doc", "doc_to_doc", "doc_to_doc")}, "has one twice"),
    ({"directions": ("query_to_doc", "up")}, "direction 'up' of InfoNCE is unknown; known: query_to_doc, "),
    ({"directions": ("doc_to_query",)}, "directions=('doc_to_query',) of InfoNCE lacks 'query_to_doc'"),
    ({"partition": "both"}, "partition='both' of InfoNCE is unknown; use joint or per_direction"),
    ({"directions": ALL, "partition": "per_direction"}, "finds no positive in query_to_query, doc_to_doc; use 'joint'"),
    ({"block": -1}, "block=-1 of InfoNCE is negative"),
    ({"guide": "yes"}, "guide='yes' of InfoNCE is unknown; use absolute, relative"),
    ({"guide": "absolute", "guide_margin": -0.1}, "guide_margin=-0.1 of InfoNCE is not in [0, 1)"),
    ({"guide_margin": 0.1}, "guide_margin=0.1 of InfoNCE has no guide"),
  ],
)
def test_bad_fields(fields, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    InfoNCE(**fields).validate(50)


def test_a_guide_without_a_teacher(draw):
  e = draw().replace(teacher=None)
  with pytest.raises(ValueError, match="InfoNCE has a guide and got examples without a teacher's vectors"):
    InfoNCE(guide="absolute")({}, e, e, 0)


@pytest.mark.parametrize(("directions", "partition"), SPACES)
def test_good_fields(directions, partition):
  InfoNCE(directions=directions, partition=partition, learn_temperature=True, block=128).validate(50)


def test_memory_is_a_block_of_the_matrix_in_forward_and_backward():
  rows, bytes_of_float = 256, 4

  def temporary_bytes(examples: int, block: int) -> int:
    def mean(vectors, e):
      e = e.replace(anchor=vectors[0], positive=vectors[1])
      return InfoNCE(block=block, multi_positive=True)({}, jax.tree.map(lambda x: x[:rows], e), e, 0).mean()

    vectors, keys, weight = (
      jax.ShapeDtypeStruct(shape, dtype)
      for shape, dtype in (((2, examples, 4), np.float32), ((examples, 2), np.int32), ((examples,), np.float32))
    )
    e = Embeddings(None, None, None, None, keys, None, None, weight)
    compiled = jax.jit(jax.value_and_grad(mean)).lower(vectors, e).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  whole, some, twice_the_examples, twice_the_block = (
    temporary_bytes(*sizes) for sizes in ((8192, 0), (8192, 512), (16384, 512), (8192, 1024))
  )
  a_block = rows * 512 * bytes_of_float
  assert whole > 16 * a_block
  assert some < 7 * a_block
  assert twice_the_block - some > a_block
  assert twice_the_examples - some < a_block / 2
