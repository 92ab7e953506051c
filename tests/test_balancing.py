"""Each balancing against its paper's formulas, with vectors and loops in NumPy."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest

from mtc import data
from mtc.config import Experiment, Task
from mtc.multitask.balancing import Fixed, GradNorm, PCGrad, Uncertainty

NAMES = ["a", "b", "c"]
WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.5}
KEY = jax.random.key(3)


@dataclass
class Known:
  """Tasks whose gradients are the rows of a matrix; the same stand for those at the embeddings."""

  losses: np.ndarray
  gradients: np.ndarray
  names: list[str]
  weights: np.ndarray

  def norms(self):
    return np.linalg.norm(self.gradients, axis=1).astype(np.float32)

  def gram(self):
    return (self.gradients @ self.gradients.T).astype(np.float32)


def known(seed: int, names=NAMES, size=5) -> Known:
  rng = np.random.default_rng(seed)
  return Known(
    rng.uniform(0.5, 3, len(names)).astype(np.float32),
    rng.normal(size=(len(names), size)),
    list(names),
    np.array([WEIGHTS[name] for name in names], np.float32),
  )


def values(state: dict, names=NAMES) -> np.ndarray:
  return np.array([float(state[name]) for name in names])


def test_fixed_gives_the_weights():
  np.testing.assert_array_equal(Fixed().factors({}, known(0), KEY), [1, 2, 0.5])
  assert Fixed().init(WEIGHTS) == {}


def test_uncertainty_descends_the_formula():
  """d/ds of weight (exp(-s) L + s), and its factor of L."""
  balancing = Uncertainty(learning_rate=0.1)
  state, s, weights = balancing.init(WEIGHTS), np.zeros(3), np.array([1, 2, 0.5])
  for seed in range(6):
    tasks = known(seed)
    np.testing.assert_allclose(balancing.factors(state, tasks, KEY), weights * np.exp(-s), rtol=1e-5)
    state = balancing.update(state, tasks)

    def objective(s, losses=tasks.losses):
      return weights * (np.exp(-s) * losses + s)

    s = s - 0.1 * (objective(s + 1e-5) - objective(s - 1e-5)) / 2e-5
  np.testing.assert_allclose(values(state["log_variance"]), s, rtol=1e-4)
  assert np.abs(s).max() > 0.1


def test_uncertainty_ends_where_the_variance_is_the_loss():
  balancing, state, tasks = Uncertainty(learning_rate=0.2), Uncertainty().init(WEIGHTS), known(1)
  for _ in range(150):
    state = balancing.update(state, tasks)
  np.testing.assert_allclose(np.exp(values(state["log_variance"])), tasks.losses, rtol=1e-4)


def test_uncertainty_leaves_the_tasks_of_other_steps_alone():
  balancing = Uncertainty()
  before = balancing.init(WEIGHTS)
  after = balancing.update(before, known(0, ["b"]))
  assert values(after["log_variance"])[[0, 2]].tolist() == [0, 0] and values(after["log_variance"])[1] != 0
  assert balancing.factors(after, known(0, ["b"]), KEY).shape == (1,)


def test_the_example_of_uncertainty():
  tasks = known(0, ["a"])
  tasks.losses = np.array([3.0], np.float32)
  balancing = Uncertainty(learning_rate=0.1)
  state = balancing.update(balancing.init({"a": 1.0}), tasks)
  assert float(state["log_variance"]["a"]) == pytest.approx(0.2)
  assert float(balancing.factors(state, tasks, KEY)[0]) == pytest.approx(np.exp(-0.2))


def test_gradnorm_is_algorithm_1():
  """The gradient of sum |w_i n_i - mean r_i ** alpha| with the target constant, by differences; units of the mean."""
  balancing = GradNorm(alpha=0.7, learning_rate=0.05)
  state, w, first = balancing.init(WEIGHTS), np.array([1, 2, 0.5]), None
  for seed in range(8):
    tasks = known(seed)
    np.testing.assert_allclose(balancing.factors(state, tasks, KEY), w, rtol=1e-5)
    state = balancing.update(state, tasks)
    first = tasks.losses if first is None else first
    norm = np.array([np.sqrt(sum(x * x for x in row)) for row in tasks.gradients])
    mean = np.mean(w * norm)
    ratio = tasks.losses / first
    target = mean * (ratio / ratio.mean()) ** 0.7

    def objective(w, norm=norm, target=target):
      return np.abs(w * norm - target)  # each term has its own weight only

    w = w - 0.05 * (objective(w + 1e-7) - objective(w - 1e-7)) / 2e-7 / mean
    w = w * 3.5 / w.sum()
  np.testing.assert_allclose(values(state["weight"]), w, rtol=1e-5)
  assert np.abs(w - [1, 2, 0.5]).max() > 0.1


def test_gradnorm_brings_the_norms_together():
  tasks, balancing = known(0), GradNorm(alpha=0.0, learning_rate=0.01)
  tasks.gradients = np.diag([4.0, 1.0, 2.0])
  state = balancing.init(WEIGHTS)
  for _ in range(400):
    state = balancing.update(state, tasks)
  norms = values(state["weight"]) * tasks.norms()
  np.testing.assert_allclose(norms, norms.mean(), rtol=0.1)
  assert values(state["weight"]).sum() == pytest.approx(3.5, rel=1e-5)


def test_gradnorm_does_not_lose_a_task():
  tasks, balancing = known(0), GradNorm(learning_rate=0.9)
  tasks.gradients = np.diag([100.0, 0.01, 0.01])
  state = balancing.update(balancing.init(WEIGHTS), tasks)
  assert (values(state["weight"]) > 0).all()


def projected(gradients: np.ndarray, order: np.ndarray) -> np.ndarray:
  """Algorithm 1 of the paper, on vectors."""
  total = np.zeros(gradients.shape[1])
  for i, gradient in enumerate(gradients):
    mine = gradient.copy()
    for j in order[i]:
      other = gradients[j]
      if j != i and mine @ other < 0:
        mine -= mine @ other / (other @ other) * other
    total += mine
  return total


@pytest.mark.parametrize("size", [2, 20])
def test_pcgrad_is_algorithm_1(size):
  different = 0
  for seed in range(6):
    tasks, key = known(seed, size=size), jax.random.key(seed)
    expected = projected(tasks.weights[:, None] * tasks.gradients, np.asarray(PCGrad.order(key, 3)))
    factors = np.asarray(PCGrad().factors({}, tasks, key))
    np.testing.assert_allclose(factors @ tasks.gradients, expected, rtol=1e-4, atol=1e-5)
    different += not np.allclose(factors, tasks.weights)
  assert different > 3, "almost nothing was in conflict: this test would compare sums"


def test_the_example_of_pcgrad():
  tasks = known(0, ["a", "b"])
  tasks.weights, tasks.gradients = np.ones(2, np.float32), np.array([[1.0, 0.0], [-1.0, 1.0]])
  factors = np.asarray(PCGrad().factors({}, tasks, KEY))
  np.testing.assert_allclose(factors, [2, 1.5], rtol=1e-6)
  np.testing.assert_allclose(factors @ tasks.gradients, [0.5, 1.5], rtol=1e-6)


def test_pcgrad_with_a_gradient_of_zero_or_one_task():
  tasks = known(0)
  tasks.gradients[1] = 0
  assert np.isfinite(PCGrad().factors({}, tasks, KEY)).all()
  np.testing.assert_array_equal(PCGrad().factors({}, known(0, ["b"]), KEY), [2])


def test_every_order_comes():
  orders = {tuple(row) for seed in range(20) for row in np.asarray(PCGrad.order(jax.random.key(seed), 3)).tolist()}
  assert len(orders) == 6


@pytest.mark.parametrize("balancing", [GradNorm(), PCGrad()])
def test_what_compares_tasks_needs_them_all_in_a_step(balancing):
  tasks = {"a": Task(data.InMemory({}), data.Pairs())}
  with pytest.raises(ValueError, match=f"balancing={type(balancing).__name__} .*mixing.kind='uniform'.*use mixing"):
    Experiment(tasks=tasks, balancing=balancing, mixing=data.Mixing("uniform")).validate()
  Experiment(tasks=tasks, balancing=balancing).validate()
  Experiment(tasks=tasks, balancing=Uncertainty(), mixing=data.Mixing("uniform")).validate()


@pytest.mark.parametrize(
  "balancing, message",
  [
    (Uncertainty(learning_rate=0.0), "learning_rate=0.0 of Uncertainty"),
    (GradNorm(learning_rate=2.0), "learning_rate=2.0 of GradNorm"),
    (GradNorm(alpha=-1.0), "alpha=-1.0 of GradNorm"),
  ],
)
def test_fields_that_cannot_be_right(balancing, message):
  with pytest.raises(ValueError, match=message):
    balancing.validate()
