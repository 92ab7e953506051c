import math
import re

import jax
import numpy as np
import pytest

from mtc.losses import Sigmoid
from mtc.types import Embeddings


def by_hand(loss: Sigmoid, e: Embeddings) -> np.ndarray:
  """The definition, one pair at a time."""

  def term(cosine: float, positive: bool) -> float:
    logit = cosine / loss.temperature + loss.bias
    return math.log1p(math.exp(-logit if positive else logit))

  losses = np.zeros(len(e.weight))
  for i, row in enumerate(e.anchor):
    mine = {k for k in e.keys[i] if k >= 0}
    for j in range(len(e.weight)):
      shared = bool(mine & set(e.keys[j]))
      if i == j or (e.weight[j] > 0 and (loss.multi_positive or not shared)):
        losses[i] += term(row @ e.positive[j], i == j or shared)
      for h in range(0 if e.negatives is None else e.negatives.shape[1]):
        shared = e.negative_keys[j, h] in mine
        if e.negative_mask[j, h] and e.weight[j] > 0 and (loss.multi_positive or not shared):
          losses[i] += term(row @ e.negatives[j, h], shared)
  return losses


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("multi_positive", [False, True])
@pytest.mark.parametrize("hard", [0, 2])
def test_equals_loops(draw, hard, multi_positive):
  e = draw(hard=hard, fillers=(2, 7))
  loss = Sigmoid(temperature=0.25, bias=-2.0, learn=False, multi_positive=multi_positive)
  np.testing.assert_allclose(loss({}, e, e, 0), by_hand(loss, e), rtol=1e-12)


def test_example_of_the_docstring():
  q = np.eye(2, dtype=np.float32)
  e = Embeddings(q, q, None, None, np.array([[1], [2]], np.int32), None, None, np.ones(2, np.float32))
  np.testing.assert_allclose(Sigmoid(1.0, 0.0, learn=False)({}, e, e, 0), [1.0064] * 2, atol=5e-5)


@pytest.mark.usefixtures("x64")
def test_learnt_scalars_start_at_the_fixed_ones_and_have_gradients(draw):
  e, loss = draw(), Sigmoid()
  scalars = loss.init()
  assert {k: (v.shape, v.dtype) for k, v in scalars.items()} == {
    "log_scale": ((), np.float32),
    "bias": ((), np.float32),
  }
  fixed = Sigmoid(learn=False)
  assert fixed.init() == {}
  np.testing.assert_allclose(loss(scalars, e, e, 0), fixed({}, e, e, 0), rtol=1e-6)
  grads = jax.grad(lambda s: loss(s, e, e, 0).mean())(jax.tree.map(np.float64, scalars))
  step = 1e-6
  for name, low, high in (
    ("bias", Sigmoid(0.1, -10 - step), Sigmoid(0.1, -10 + step)),
    ("log_scale", Sigmoid(0.1 * math.exp(step)), Sigmoid(0.1 * math.exp(-step))),
  ):
    slope = (by_hand(high, e).mean() - by_hand(low, e).mean()) / (2 * step)
    np.testing.assert_allclose(grads[name], slope, rtol=1e-6)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"temperature": -1.0}, "temperature=-1.0 of Sigmoid is not a positive number"),
    ({"bias": math.inf}, "bias=inf of Sigmoid is not a number"),
    ({"block": -4}, "block=-4 of Sigmoid is negative"),
  ],
)
def test_bad_fields(fields, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    Sigmoid(**fields).validate(50)
